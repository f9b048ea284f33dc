// The official Node SDK against a base URL. Started by run.py with the environment that sdk_python.py describes, and
// E2E_NODE_PACKAGES, the folder that holds the SDK. Prints the same result lines.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const OpenAI = createRequire(`${process.env.E2E_NODE_PACKAGES}/package.json`)("openai");

const BASE = process.env.E2E_BASE_URL;
const ENGINES = process.env.E2E_ENGINES.split(",");
const DIRECT = process.env.E2E_DIRECT === "1";
const ONLY = process.env.E2E_ONLY ?? "";
const LIMIT_MS = 60_000;
// A retry of the SDK would hide a failure of the gateway.
const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: "sk-e2e", maxRetries: 0, timeout: LIMIT_MS });

const model = "tiny";
const messages = [{ role: "user", content: "What does a gateway do?" }];
const short = { model, temperature: 0, max_tokens: 24 };
const long = { model, temperature: 0, max_tokens: 3500, ignore_eos: true, messages };

class Skip extends Error {}

function gatewayOnly() {
  if (DIRECT) throw new Skip("an engine alone does not do this");
}

async function allOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

function chatText(chunks) {
  return chunks.map((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "").join("")).join("");
}

async function busy() {
  const slots = await Promise.all(ENGINES.map(async (engine) => (await fetch(`${engine}/slots`)).json()));
  return slots.flat().filter((slot) => slot.is_processing).length;
}

// How many steps the engines have made, each a token for every slot at work.
async function steps() {
  const pages = await Promise.all(ENGINES.map(async (engine) => (await fetch(`${engine}/metrics`)).text()));
  return pages.reduce((sum, page) => sum + Number(page.match(/^llamacpp:n_decode_total (\S+)$/m)[1]), 0);
}

async function until(what, condition, limitMs = 10_000, gapMs = 20) {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    assert(Date.now() < end, `${what}: not within ${limitMs} ms`);
    await pause(gapMs); // between two looks
  }
}

const cases = {
  async models_are_listed() {
    const ids = (await allOf(await client.models.list())).map((each) => each.id);
    assert(ids.includes(model), String(ids));
  },

  async a_model_is_retrieved() {
    gatewayOnly();
    assert.equal((await client.models.retrieve(model)).id, model);
  },

  async a_chat_is_answered() {
    const reply = await client.chat.completions.create({ ...short, messages });
    assert(reply.choices[0].message.content);
    assert(["stop", "length"].includes(reply.choices[0].finish_reason));
    assert.equal(reply.usage.prompt_tokens + reply.usage.completion_tokens, reply.usage.total_tokens);
  },

  async a_streamed_chat_says_what_a_plain_one_says() {
    const plain = await client.chat.completions.create({ ...short, messages });
    const chunks = await allOf(await client.chat.completions.create({ ...short, messages, stream: true }));
    assert.equal(chatText(chunks), plain.choices[0].message.content);
    assert(chunks.every((chunk) => chunk.choices.length && !chunk.usage), "a usage chunk that nobody asked for");
  },

  async usage_ends_a_stream_that_asked_for_it() {
    const asked = { ...short, messages, stream: true, stream_options: { include_usage: true } };
    const last = (await allOf(await client.chat.completions.create(asked))).at(-1);
    assert.deepEqual(last.choices, []);
    assert(last.usage.completion_tokens > 0);
  },

  async the_stream_helper_collects_the_text() {
    const plain = await client.chat.completions.create({ ...short, messages });
    const collected = await client.chat.completions.stream({ ...short, messages }).finalContent();
    assert.equal(collected, plain.choices[0].message.content);
  },

  async a_text_is_completed() {
    const reply = await client.completions.create({ ...short, prompt: "The gateway" });
    const chunks = await allOf(await client.completions.create({ ...short, prompt: "The gateway", stream: true }));
    assert(reply.choices[0].text);
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), reply.choices[0].text);
  },

  async each_prompt_of_an_array_is_completed() {
    const reply = await client.completions.create({ ...short, prompt: ["The gateway", "A queue"] });
    assert.deepEqual(reply.choices.map((choice) => choice.index).sort(), [0, 1]);
  },

  async embeddings_are_the_same_in_base64_and_as_numbers() {
    const input = ["a queue", "a token"];
    const packed = await client.embeddings.create({ model, input }); // the SDK asks for base64 by itself
    const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
    assert.equal(packed.data.length, 2);
    for (const [at, { embedding }] of plain.data.entries()) {
      assert.equal(embedding.length, packed.data[at].embedding.length);
      assert(embedding.every((value, i) => Math.abs(value - packed.data[at].embedding[i]) < 1e-5));
    }
  },

  async a_response_is_made_and_streamed() {
    const asked = { model, input: "What is a batch?", max_output_tokens: 24, temperature: 0 };
    const plain = await client.responses.create(asked);
    assert(plain.output_text);
    const events = await allOf(await client.responses.create({ ...asked, stream: true }));
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    assert.equal(deltas.map((event) => event.delta).join(""), plain.output_text);
    assert.equal(events.at(-1).type, "response.completed");
  },

  async two_choices_and_log_probabilities_are_given() {
    const asked = { ...short, messages, temperature: 0.8, n: 2, logprobs: true, top_logprobs: 2 };
    const reply = await client.chat.completions.create(asked);
    assert.deepEqual(reply.choices.map((choice) => choice.index).sort(), [0, 1]);
    assert(reply.choices.every((choice) => choice.logprobs.content.length > 0));
  },

  async an_unknown_model_is_not_found_and_the_message_names_those_that_exist() {
    gatewayOnly();
    const asked = client.chat.completions.create({ model: "no-such-model", messages });
    await assert.rejects(asked, (error) => {
      assert(error instanceof OpenAI.NotFoundError, error.constructor.name);
      assert.match(error.message, /tiny/);
      assert.equal(error.code, "model_not_found");
      return true;
    });
  },

  async malformed_messages_are_a_bad_request() {
    const asked = client.chat.completions.create({ model, messages: "nonsense" });
    await assert.rejects(asked, (error) => error instanceof OpenAI.BadRequestError && /messages/.test(error.message));
  },

  async a_request_id_comes_back() {
    gatewayOnly();
    const headers = { "x-request-id": "e2e-node-1" };
    const { response } = await client.chat.completions.create({ ...short, messages }, { headers }).withResponse();
    assert.equal(response.headers.get("x-request-id"), "e2e-node-1");
    const { request_id } = await client.chat.completions.create({ ...short, messages }).withResponse();
    assert(request_id);
  },

  async eight_streams_at_once_do_not_mix() {
    const ask = (number, more) => {
      const content = `Question ${number}: what is ${number} times ${number}?`;
      return client.chat.completions.create({ ...short, messages: [{ role: "user", content }], ...more });
    };
    const numbers = [...Array(8).keys()];
    const alone = [];
    for (const number of numbers) alone.push((await ask(number)).choices[0].message.content);
    const streamed = numbers.map(async (number) => chatText(await allOf(await ask(number, { stream: true }))));
    assert.deepEqual(await Promise.all(streamed), alone);
  },

  async a_request_past_its_timeout_ends_and_frees_its_slot() {
    await until("no slot at work", async () => (await busy()) === 0);
    const asked = client.chat.completions.create(long, { timeout: 200 });
    // The gateway knows the timeout from a header and may be the first to say so.
    const timedOut = (error) => error instanceof OpenAI.APIConnectionTimeoutError || error.status === 504;
    await assert.rejects(asked, timedOut);
    // llama-server looks once a second in which nothing else is asked of it whether the client of a plain request has left.
    await until("no slot at work", async () => (await busy()) === 0, 10_000, 1_500);
  },

  async a_stream_left_in_the_middle_frees_its_slot() {
    await until("no slot at work", async () => (await busy()) === 0);
    const before = await steps();
    const stream = await client.chat.completions.create({ ...long, stream: true });
    let seen = 0;
    for await (const _ of stream) {
      if (++seen < 5) continue;
      assert.equal(await busy(), 1, "slots at work in the middle of one stream");
      break; // the SDK aborts its request here
    }
    await until("no slot at work", async () => (await busy()) === 0, 3_000);
    const made = (await steps()) - before;
    assert(made < long.max_tokens / 2, `the engine made ${made} steps for 5 tokens`);
  },
};

async function outcome(name, run) {
  const abort = new AbortController();
  const tooLong = pause(LIMIT_MS, null, { signal: abort.signal }).then(() => {
    throw new Error(`not done after ${LIMIT_MS} ms`);
  });
  try {
    await Promise.race([run(), tooLong]);
    return `ok ${name}`;
  } catch (error) {
    const why = `${error.constructor.name}: ${error.message}`.replace(/\s+/g, " ").slice(0, 600);
    return error instanceof Skip ? `skip ${name}: ${error.message}` : `FAILED ${name}: ${why}`;
  } finally {
    abort.abort();
    tooLong.catch(() => {});
  }
}

let failed = false;
for (const [name, run] of Object.entries(cases)) {
  if (!`node.${name}`.includes(ONLY)) continue;
  const line = await outcome(`node.${name}`, run);
  failed ||= line.startsWith("FAILED");
  console.log(line);
}
process.exit(failed ? 1 : 0);
