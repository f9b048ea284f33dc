// The same as load_python.py through the Node SDK: `load_node.mjs WORKERS TOKENS`, until standard input closes.
import { createRequire } from "node:module";

const OpenAI = createRequire(`${process.env.E2E_NODE_PACKAGES}/package.json`)("openai");
const baseURL = `${process.env.E2E_BASE_URL}/v1`;
const client = new OpenAI({ baseURL, apiKey: "sk-e2e", maxRetries: 0, timeout: 30_000 });

const [workers, tokens] = process.argv.slice(2).map(Number);
const PLAIN_TOKENS = 24;
let next = 0;
let stop = false;

function tell(id, state, begun, why = "") {
  console.log(JSON.stringify({ id, state, begun, why: String(why).slice(0, 300) }));
}

function asked(number, limit) {
  const content = `Request ${number} of the other client: tell me a story.`;
  return { model: "tiny", messages: [{ role: "user", content }], max_tokens: limit, temperature: 0, ignore_eos: true };
}

async function plain(number) {
  try {
    const reply = await client.chat.completions.create(asked(number, PLAIN_TOKENS));
    tell(number, reply.choices[0].finish_reason ? "finished" : "silent", false);
  } catch (error) {
    tell(number, "broken", false, error);
  }
}

async function streamed(number) {
  let begun = false;
  let finish = null;
  try {
    for await (const chunk of await client.chat.completions.create({ ...asked(number, tokens), stream: true })) {
      for (const choice of chunk.choices) {
        if (choice.delta.content && !begun) {
          begun = true;
          tell(number, "begun", true);
        }
        finish = choice.finish_reason ?? finish;
      }
    }
    tell(number, finish ? "finished" : "silent", begun);
  } catch (error) {
    // What the SDK makes of an error event has no status, and the event's object as `error`.
    const isEvent = error instanceof OpenAI.APIError && error.status === undefined && error.error?.message;
    tell(number, isEvent ? "error_event" : "broken", begun, `${error.constructor.name}: ${error.message}`);
  }
}

async function worker() {
  while (!stop) {
    const number = next++;
    await (number % 4 === 3 ? plain(number) : streamed(number));
  }
}

process.stdin.on("end", () => (stop = true)).resume();
await Promise.all(Array.from({ length: workers }, worker));
process.exit(0);
