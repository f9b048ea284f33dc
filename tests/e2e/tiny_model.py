#!/usr/bin/env python3
"""Writes a tiny language model for llama.cpp: `tiny_model.py OUT.gguf`. Nothing is downloaded or trained.

The model is a real two-layer Llama of 1.5 million parameters whose weights come from a seed, so every machine writes
the same file. What it says is legible because its output layer holds a small grammar: after a word only the words that
the grammar allows score high. Which of them wins is decided by the random layers, hence by the whole context: a
mixed-up batch, a lost message or a wrong cache changes the text.
"""
import sys

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType

SEED = 7
DIM, LAYERS, HEADS, FFN, CONTEXT = 256, 2, 4, 512, 8192
ALLOWED = 14.0  # score of a word the grammar allows, before scaling; what the context adds has a deviation of one
SWAY = 1.5  # how loud the random layers are beside the last word

END = "<end>"  # the model ends its turn
CONTROL = ["<start>", END]

# class: its words, and the classes that may follow.
GRAMMAR = {
    "opening": ("The|A|Each|One|This", "actor"),
    "reopening": (" The", "actor"),
    "actor": (" gateway| backend| router| engine| balancer| scheduler| region", "verb"),
    "verb": (" takes| keeps| moves| counts| streams| batches| returns| sends", "article"),
    "article": (" the| a| every| its| one", "thing"),
    "thing": (" request| prompt| token| queue| reply| batch| slot| cache", "link stop"),
    "link": (" and| while", "rearticle"),
    "rearticle": (" this| that| another", "actor"),
    "stop": (".", "reopening end"),
    "end": (END, ""),
}
WORDS = [word for words, _ in GRAMMAR.values() for word in words.split("|")]
AXES = 1 + len(WORDS)  # dimensions that tell the last word; the first stands for all that is no word of the grammar

TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content or '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)


def byte_letters():
    """GPT-2's table of one printable letter per byte, in which llama.cpp wants every token spelled."""
    letters, spare = [], 256
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174:
            letters.append(chr(byte))
        else:
            letters.append(chr(spare))
            spare += 1
    return letters


def spell(text, letters):
    """`text` in those letters."""
    return "".join(letters[byte] for byte in text.encode())


def tokenizer():
    """Tokens and merges of a byte-level BPE whose merges grow each word of the grammar letter by letter."""
    letters = byte_letters()
    tokens, merges = list(letters), []
    for word in WORDS:
        if word in CONTROL:
            continue
        spelled = spell(word, letters)
        for end in range(2, len(spelled) + 1):
            if spelled[:end] not in tokens:
                tokens.append(spelled[:end])
                merges.append(f"{spelled[:end - 1]} {spelled[end - 1]}")
    return tokens + CONTROL, merges


def token_of(word, tokens):
    """The number of the token that is exactly `word`."""
    return tokens.index(word if word in CONTROL else spell(word, byte_letters()))


def successors(tokens):
    """For each token the tokens that may follow it; whatever is no word of the grammar is followed by an opening."""
    members = {name: [token_of(word, tokens) for word in words.split("|")] for name, (words, _) in GRAMMAR.items()}
    table = {token: members["opening"] for token in range(len(tokens))}
    for name, (_, following) in GRAMMAR.items():
        for token in members[name]:
            table[token] = [after for after_name in following.split() for after in members[after_name]]
    return table


def embeddings(tokens, axes, random):
    """The last word as a one on its axis, and a random direction in the dimensions that carry the context."""
    rows = np.zeros((len(tokens), DIM))
    for token, axis in axes.items():
        rows[token, axis] = 1
    rows[:, AXES:] = random.standard_normal((len(tokens), DIM - AXES)) / np.sqrt(DIM - AXES)
    return rows


def output_rows(tokens, axes, random):
    """Scores: high for what may follow the last word, else and among those as the context has it."""
    rows = np.zeros((len(tokens), DIM))
    rows[:, AXES:] = random.standard_normal((len(tokens), DIM - AXES))
    for token, following in successors(tokens).items():
        rows[following, axes[token]] = ALLOWED
    return rows / np.sqrt(DIM)  # the last normalisation stretches the residual to that length


def tensors(tokens):
    """Every weight of the model by llama.cpp's name for it."""
    random = np.random.default_rng(SEED)

    def dense(rows, columns, scale=1.0):
        return random.standard_normal((rows, columns)) * scale / np.sqrt(columns)

    def context_only(weight):
        weight[:AXES] = 0  # the axes keep the last word and nothing else
        return weight

    axes = dict.fromkeys(range(len(tokens)), 0)
    axes.update((token_of(word, tokens), 1 + place) for place, word in enumerate(WORDS))
    weights = {"token_embd.weight": embeddings(tokens, axes, random), "output_norm.weight": np.ones(DIM)}
    weights["output.weight"] = output_rows(tokens, axes, random)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        weights[block + "attn_norm.weight"] = np.ones(DIM)
        weights[block + "attn_q.weight"] = dense(DIM, DIM, 2.0)
        weights[block + "attn_k.weight"] = dense(DIM, DIM, 2.0)
        weights[block + "attn_v.weight"] = dense(DIM, DIM)
        weights[block + "attn_output.weight"] = context_only(dense(DIM, DIM, SWAY / np.sqrt(DIM)))
        weights[block + "ffn_norm.weight"] = np.ones(DIM)
        weights[block + "ffn_gate.weight"] = dense(FFN, DIM)
        weights[block + "ffn_up.weight"] = dense(FFN, DIM)
        weights[block + "ffn_down.weight"] = context_only(dense(DIM, FFN, SWAY / np.sqrt(DIM)))
    return weights


def describe(writer, tokens, merges):
    """The metadata without which llama.cpp does not load a model."""
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(DIM // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in CONTROL else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(CONTROL[0]))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def main():
    tokens, merges = tokenizer()
    writer = GGUFWriter(sys.argv[1], "llama")
    describe(writer, tokens, merges)
    weights = tensors(tokens)
    for name, values in weights.items():
        # 32 bits: with 16 the order of additions in a batch would decide between two words that score alike.
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{sys.argv[1]}: {sum(w.size for w in weights.values())} parameters, {len(tokens)} tokens")


if __name__ == "__main__":
    main()
