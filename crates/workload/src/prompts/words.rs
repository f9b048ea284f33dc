//! The words that prompts are made of: common ones of three letters, each with the space before it.

/// 256 words of four bytes each; one byte chooses one.
pub(super) const WORDS: &[u8; 1_024] = b"\
    \x20the and for are but not you all any can had her was one our out day get has him his how man new\
    \x20now old see two way who boy did its let put say she too use dad mom act add age ago aid aim air\
    \x20arm art ask ate bad bag bar bat bay bed bee bet big bit bow box bus buy cab cap car cat cow cry\
    \x20cup cut dam den dig dim dip dog dot dry due dug ear eat egg end eye fan far fed fee few fig fin\
    \x20fit fix fly fog fox fun fur gap gas gem got gum guy gym hat hay hen hid hip hit hop hot hub hug\
    \x20hut ice ink inn jam jar jaw jet job jog joy key kid kit lab lap law lay led leg lid lie lip log\
    \x20lot low mad map mat may men met mix mob mud mug nap net nod nor nut oak odd off oil own pad pan\
    \x20pay pea pen per pet pie pig pin pit pop pot pro pub ran rat raw red rib rid rim rip rob rod rot\
    \x20row rub rug run sad sat saw sea set sew sip sir sit six sky son sum sun tab tag tan tap tax tea\
    \x20ten tie tin tip toe ton top toy try tub van vet via wax web wet why win won yes yet zip zoo ace\
    \x20ant ape arc ash bid bug cod cog cop cue elf elm era eve fro gel";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_another_of_three_letters_behind_a_space() {
        let mut words: Vec<&[u8]> = WORDS.chunks(4).collect();
        for word in &words {
            assert!(word[0] == b' ' && word[1..].iter().all(u8::is_ascii_lowercase), "{word:?}");
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 256);
    }
}
