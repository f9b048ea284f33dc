use super::*;

fn look(body: &str) -> Result<Peeked, ServeError> {
    peek(Kind::Chat, &Bytes::copy_from_slice(body.as_bytes()), &Requests::default(), None)
}

fn why(body: &str) -> String {
    look(body).unwrap_err().to_string()
}

fn spliced(body: &str) -> String {
    let Splice { at, text } = look(body).unwrap().ask_usage.unwrap();
    format!("{}{text}{}", &body[..at.start], &body[at.end..])
}

#[test]
fn what_is_needed_is_found_and_the_rest_is_left() {
    let body = r#" {"x":[1,{"model":"no"}],"model":"m","stream":true,"max_tokens":7,"messages":[{"content":"hello there"}]}"#;
    let peeked = look(body).unwrap();
    assert_eq!((&*peeked.model, &body[peeked.model_at.clone()]), ("m", "\"m\""));
    assert!(peeked.stream && peeked.max_tokens == Some(7) && peeked.prompt_tokens > 3);
}

#[test]
fn a_lower_number_is_more_urgent_and_what_is_no_number_says_nothing() {
    let priority =
        |value: &str| look(&format!(r#"{{"priority":{value},"model":"m","messages":[]}}"#)).unwrap().priority;
    assert_eq!(
        (priority("-3"), priority("0"), priority("7")),
        (Priority::High, Priority::Normal, Priority::Low)
    );
    assert_eq!((priority("null"), priority("\"high\"")), (Priority::Normal, Priority::Normal));
}

#[test]
fn usage_is_asked_for_in_every_form_that_a_body_can_have() {
    for (options, expected) in [
        ("", r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#),
        (
            r#","stream_options":null"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (r#","stream_options":{}"#, r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#),
        (
            r#","stream_options":{"a":1}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
        ),
        (
            r#","stream_options":{"include_usage":false}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(spliced(&format!(r#"{{"model":"m","stream":true{options}}}"#)), expected);
    }
    let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    assert_eq!(look(asked).unwrap().ask_usage, None);
    assert_eq!(look(r#"{"model":"m"}"#).unwrap().ask_usage, None);
}

#[test]
fn a_key_that_stands_twice_is_refused_however_it_is_written() {
    assert!(why(r#"{"model":"m","model":"n"}"#).contains("given twice"));
    assert!(why(r#"{"model":"m","mod\u0065l":"n"}"#).contains("given twice"));
}

#[test]
fn values_that_cannot_stand_are_refused_with_the_name_of_their_key() {
    for (body, expected) in [
        ("{}", "`model` is missing"),
        (r#"{"model":null}"#, "`model` must be a string"),
        (r#"{"model":"m","stream":"yes"}"#, "`stream` must be"),
        (r#"{"model":"m","max_tokens":"7"}"#, "`max_tokens` must be"),
        (r#"{"model":"m","n":2147483648}"#, "`n` must be a whole number from 1 to 128"),
        (r#"{"model":"m","chat_template":"x"}"#, "`chat_template` is not accepted"),
        ("[1]", "must be a JSON object"),
        ("{\"model\":\"m\"", "the body is not valid JSON"),
    ] {
        assert!(why(body).contains(expected), "{body}: {}", why(body));
    }
}

#[test]
fn limits_that_are_of_no_use_to_count_with_are_the_engines_to_judge() {
    let limit = |value: &str| look(&format!(r#"{{"model":"m","max_tokens":{value}}}"#)).unwrap().max_tokens;
    assert_eq!(["-1", "0", "64.0", "null", "7"].map(limit), [None, None, Some(64), None, Some(7)]);
    for wrong in ["-5", "1e999", "1000000000000000000000000000000"] {
        assert!(
            why(&format!(r#"{{"model":"m","max_tokens":{wrong}}}"#)).contains("must be a whole number"),
            "{wrong}"
        );
    }
    assert!(look(r#"{"model":"m","best_of":0}"#).is_ok());
}

#[test]
fn links_that_no_engine_follows_are_text() {
    for body in [
        r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use","name":"WebFetch","input":{"url":"https://example.com/docs"}}]}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"see http://localhost:3000"}]}]}]}"#,
        r#"{"model":"m","messages":[{"role":"assistant","content":"so","annotations":[{"type":"url_citation","url_citation":{"url":"https://example.com/a"}}]}]}"#,
        r#"{"model":"m","messages":[{"content":[{"type":"web_search_tool_result","content":[{"type":"web_search_result","url":"https://example.com/","title":"t"}]}]}]}"#,
        r#"{"model":"m","input":[{"type":"web_search_call","action":{"type":"open_page","url":"https://example.com/"}}]}"#,
        r#"{"model":"m","input":[{"type":"message","content":[{"type":"output_text","text":"x","annotations":[{"type":"url_citation","url":"https://example.com/"}]}]}]}"#,
        r#"{"model":"m","tools":[{"function":{"parameters":{"properties":{"image_url":{"default":"https://example.com"}}}}}]}"#,
        r#"{"model":"m","metadata":{"page_url":"https://example.com/","url":"","image_url":"x"},"messages":[]}"#,
        r#"{"model":"m","messages":[{"content":[{"type":"text","text":"x","citations":[{"type":"web_search_result_location","url":"https://example.com/"}]}]}]}"#,
    ] {
        assert!(look(body).is_ok(), "{body}: {}", why(body));
    }
}

#[test]
fn links_to_the_inside_are_refused_and_content_in_the_body_is_not() {
    let image = |url: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    for url in ["http://169.254.169.254/", "file:///etc/passwd", "http://[::1]/", "https://example.com/a.png"]
    {
        assert!(why(&image(url)).contains("is not accepted here"), "{url}");
    }
    for hidden in [
        r#"{"model":"m","messages":[{"image_url":{"\u0075rl":"http://10.0.0.1/"}}]}"#,
        r#"{"model":"m","messages":[{"image_u\u0072l":"http://10.0.0.1/"}]}"#,
        r#"{"model":"m","messages":[{"image_url":["data:x","http://10.0.0.1/"]}]}"#,
        r#"{"model":"m","text_1":{"content":[{"image_url":{"url":"http://10.0.0.1/"}}]}}"#,
    ] {
        assert!(why(hidden).contains("is not accepted here"), "{hidden}");
    }
    for odd in [
        r#"{"model":"m","messages":[{"content":[{"type":"image","image":"http://10.0.0.1/a.png"}]}]}"#,
        r#"{"model":"m","messages":[{"content":[{"image":"http://10.0.0.1/","type":"image"}]}]}"#,
        r#"{"model":"m","messages":[{"content":[{"type":"document","source":{"type":"url","url":"http://10.0.0.1/"}}]}]}"#,
        r#"{"model":"m","messages":[{"content":[{"type":"video","uri":"file:///etc/passwd"}]}]}"#,
        r#"{"model":"m","messages":[{"content":[{"type":"image_url","image_url":"/etc/passwd"}]}]}"#,
        r#"{"model":"m","input":[{"content":[{"type":"input_image","image_url":"http://10.0.0.1/"}]}]}"#,
        r#"{"model":"m","input":[{"type":"input_file","file_url":"http://10.0.0.1/"}]}"#,
        r#"{"model":"m","tools":[{"type":"mcp","server_url":"http://10.0.0.1/sse"}]}"#,
        r#"{"model":"m","messages":[{"content":[[{"image_url":[{"url":"http://10.0.0.1/"}]}]]}]}"#,
    ] {
        assert!(why(odd).contains("is not accepted here"), "{odd}");
    }
    let jpeg = "/9j/4AAQSkZJRgABAQ".repeat(40);
    assert!(
        look(&format!(r#"{{"model":"m","messages":[{{"content":[{{"type":"image","image":"{jpeg}"}}]}}]}}"#))
            .is_ok()
    );
    assert!(look(&image("data:image/png;base64,AAAA")).is_ok());
    assert!(
        look(
            r#"{"model":"m","tools":[{"function":{"parameters":{"properties":{"url":{"type":"string"}}}}}]}"#
        )
        .is_ok()
    );
}
