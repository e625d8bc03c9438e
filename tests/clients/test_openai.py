"""The official `openai` Python package."""

import asyncio
import json
import unittest

import common
import openai
from common import CONTEXT, MODEL, URL, ensure_model
from pydantic import BaseModel

GREEDY = {"temperature": 0, "seed": 7, "max_tokens": 24}
STORY = [{"role": "user", "content": "Tell me a story about a rabbit."}]


class Pet(BaseModel):
    name: str
    age: int
    tame: bool


def client():
    return openai.OpenAI(base_url=f"{URL}/v1", api_key="unused", max_retries=0)


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ensure_model()
        cls.c = client()

    def test_an_answer(self):
        answer = self.c.chat.completions.create(model=MODEL, messages=STORY, **GREEDY)
        self.assertEqual(answer.object, "chat.completion")
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertGreater(answer.created, 1_700_000_000)
        choice = answer.choices[0]
        self.assertEqual((choice.index, choice.finish_reason, choice.message.role), (0, "length", "assistant"))
        self.assertEqual(answer.usage.completion_tokens, 24)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 24)

    def test_a_stream_says_what_the_whole_answer_says_and_ends_with_the_usage(self):
        whole = self.c.chat.completions.create(model=MODEL, messages=STORY, **GREEDY)
        chunks = list(self.c.chat.completions.create(model=MODEL, messages=STORY, stream=True, stream_options={"include_usage": True}, **GREEDY))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "length")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.total_tokens, whole.usage.total_tokens)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))
        self.assertEqual(len({c.id for c in chunks}), 1)

    def test_content_in_parts_and_the_developer_role(self):
        parts = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "Tell me a story about a rabbit."}]}]
        plain = [{"role": "system", "content": "Be kind."}, *STORY]
        text = lambda messages: self.c.chat.completions.create(model=MODEL, messages=messages, **GREEDY).choices[0].message.content
        self.assertEqual(text(parts), text(plain))

    def test_stop(self):
        whole = self.c.chat.completions.create(model=MODEL, messages=STORY, **GREEDY).choices[0].message.content
        word = whole.split()[4]
        for stop in (word, [word, "zzzz"]):
            choice = self.c.chat.completions.create(model=MODEL, messages=STORY, stop=stop, **GREEDY).choices[0]
            self.assertEqual((choice.message.content, choice.finish_reason), (whole[: whole.index(word)], "stop"))

    def test_json_object(self):
        answer = self.c.chat.completions.create(
            model=MODEL, messages=STORY, response_format={"type": "json_object"}, temperature=0.8, seed=5, max_tokens=400
        )
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)

    def test_a_pydantic_model_is_parsed(self):
        for seed in range(3):
            try:
                answer = self.c.chat.completions.parse(model=MODEL, messages=STORY, response_format=Pet, temperature=1.0, seed=seed, max_tokens=400)
            except openai.LengthFinishReasonError:
                continue
            self.assertIsInstance(answer.choices[0].message.parsed, Pet)

    def test_log_probabilities(self):
        answer = self.c.chat.completions.create(model=MODEL, messages=STORY, logprobs=True, top_logprobs=4, **GREEDY)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 24)
        self.assertEqual(b"".join(bytes(entry.bytes) for entry in content).decode(), answer.choices[0].message.content)
        self.assertTrue(all(len(entry.top_logprobs) == 4 for entry in content))

    def test_errors_have_openais_form(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.c.chat.completions.create(model="no-such-model", messages=STORY)
        self.assertEqual(caught.exception.code, "model_not_found")
        self.assertIn("no-such-model", caught.exception.message)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.c.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 5000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        self.assertRegex(caught.exception.message, rf"\d+ tokens.*{CONTEXT}")
        with self.assertRaises(openai.BadRequestError):
            self.c.chat.completions.create(model=MODEL, messages=[{"role": "nobody", "content": "Hi"}])
        with self.assertRaises(openai.BadRequestError):
            self.c.chat.completions.create(model=MODEL, messages=STORY, temperature=-1)

    def test_many_at_once_are_not_mixed_up(self):
        prompts = [[{"role": "user", "content": f"Tell me a story about {x}."}] for x in ("a fox", "a bear", "a hen", "two mice", "a whale", "a snail")]
        alone = [self.c.chat.completions.create(model=MODEL, messages=p, **GREEDY).choices[0].message.content for p in prompts]

        async def one(many, prompt):
            text = ""
            async for chunk in await many.chat.completions.create(model=MODEL, messages=prompt, stream=True, **GREEDY):
                text += chunk.choices[0].delta.content or ""
            return text

        async def together():
            many = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="unused", max_retries=0)
            return await asyncio.gather(*(one(many, prompt) for prompt in prompts))

        self.assertEqual(asyncio.run(together()), alone)


class Others(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ensure_model()
        cls.c = client()

    def test_models(self):
        names = [model.id for model in self.c.models.list()]
        self.assertTrue(any(name.split(":")[0] == MODEL for name in names), names)
        self.assertEqual(self.c.models.retrieve(MODEL).object, "model")
        with self.assertRaises(openai.NotFoundError):
            self.c.models.retrieve("no-such-model")

    def test_completions(self):
        whole = self.c.completions.create(model=MODEL, prompt="Once upon a time", **GREEDY)
        self.assertEqual(whole.object, "text_completion")
        self.assertEqual(whole.choices[0].finish_reason, "length")
        chunks = self.c.completions.create(model=MODEL, prompt="Once upon a time", stream=True, **GREEDY)
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), whole.choices[0].text)

    def test_embeddings_in_both_encodings(self):
        # The package asks for base64 by itself and decodes it.
        packed = self.c.embeddings.create(model=MODEL, input=["A cat sleeps.", "A dog barks."])
        plain = self.c.embeddings.create(model=MODEL, input="A cat sleeps.", encoding_format="float")
        self.assertEqual([entry.index for entry in packed.data], [0, 1])
        self.assertEqual(len(packed.data[0].embedding), len(plain.data[0].embedding))
        for a, b in zip(packed.data[0].embedding, plain.data[0].embedding):
            self.assertAlmostEqual(a, b, places=6)
        self.assertGreater(packed.usage.prompt_tokens, 4)

    def test_responses(self):
        answer = self.c.responses.create(model=MODEL, input="Tell me a story about a rabbit.", temperature=0, max_output_tokens=24)
        chat = self.c.chat.completions.create(model=MODEL, messages=STORY, **GREEDY)
        self.assertEqual(answer.output_text, chat.choices[0].message.content)
        self.assertEqual((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(answer.usage.output_tokens, 24)

    def test_responses_are_kept_and_gone_on_from(self):
        settings = {"model": MODEL, "temperature": 0, "max_output_tokens": 12}
        first = self.c.responses.create(input="Tell me a story about a rabbit.", **settings)
        self.assertTrue(first.store)
        self.assertEqual(self.c.responses.retrieve(first.id).output_text, first.output_text)
        # The package's own gathering of a stream takes no answer that was cut for one.
        second = list(self.c.responses.create(input="Go on.", previous_response_id=first.id, stream=True, **settings))[-1].response
        self.assertEqual(second.previous_response_id, first.id)
        whole = [{"role": "user", "content": "Tell me a story about a rabbit."}, *first.output, {"role": "user", "content": "Go on."}]
        self.assertEqual(self.c.responses.create(input=whole, store=False, **settings).output_text, second.output_text)
        # The package walks the pages by itself.
        items = list(self.c.responses.input_items.list(second.id, order="asc", limit=2))
        self.assertEqual([(item.type, item.role, item.content[0].text) for item in items], [
            ("message", "user", "Tell me a story about a rabbit."), ("message", "assistant", first.output_text), ("message", "user", "Go on.")])
        counted = self.c.responses.input_tokens.count(model=MODEL, input="Go on.", previous_response_id=first.id)
        self.assertEqual(counted.input_tokens, second.usage.input_tokens)
        self.c.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError):
            self.c.responses.retrieve(first.id)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.c.responses.create(input="Go on.", previous_response_id=first.id, **settings)
        self.assertEqual(caught.exception.code, "previous_response_not_found")

    def test_responses_as_a_stream(self):
        kinds, text, last = [], "", None
        for event in self.c.responses.create(model=MODEL, input="Tell me a story about a rabbit.", instructions="Be kind.", temperature=0, max_output_tokens=24, stream=True):
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
            last = event
        self.assertEqual(kinds[0], "response.created")
        self.assertIn(kinds[-1], ("response.completed", "response.incomplete"))
        self.assertEqual(last.response.output_text, text)
        self.assertGreater(len(text), 10)


class Tools(unittest.TestCase):
    """Calls that are asked for: models/tiny would make none by itself."""

    NAME = "tiny-with-tools"
    OFFERED = [
        {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": {
            "type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["city", "days"], "additionalProperties": False}}},
        {"type": "function", "function": {"name": "ring", "parameters": {
            "type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"], "additionalProperties": False}}},
    ]

    @classmethod
    def setUpClass(cls):
        common.make_tools_model(cls.NAME)
        cls.c = client()

    @classmethod
    def tearDownClass(cls):
        common.client().delete(cls.NAME)

    def ask(self, **more):
        settings = {"messages": [{"role": "user", "content": "How is it in Oslo?"}], "tools": self.OFFERED, "seed": 7, "max_tokens": 200, "parallel_tool_calls": False}
        return self.c.chat.completions.create(model=self.NAME, **{**settings, **more})

    def check(self, function):
        arguments = json.loads(function.arguments)
        if function.name == "weather":
            self.assertEqual(set(arguments), {"city", "days"})
            self.assertIn(arguments["city"], ("Oslo", "Rome"))
            self.assertIn(arguments["days"], range(1, 8))
        else:
            self.assertEqual((function.name, list(arguments)), ("ring", ["loud"]))
        return arguments

    def test_a_call_that_must_be_and_what_follows_its_result(self):
        choice = self.ask(tool_choice="required").choices[0]
        self.assertEqual((choice.finish_reason, choice.message.content, len(choice.message.tool_calls)), ("tool_calls", None, 1))
        call = choice.message.tool_calls[0]
        self.check(call.function)
        messages = [{"role": "user", "content": "How is it in Oslo?"}, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]
        after = self.ask(messages=messages, tool_choice="none", max_tokens=8).choices[0]
        self.assertIsNone(after.message.tool_calls)
        self.assertEqual(after.message.role, "assistant")

    def test_a_named_function_whole_and_streamed(self):
        named = {"type": "function", "function": {"name": "ring"}}
        whole = self.ask(tool_choice=named).choices[0].message.tool_calls
        self.assertEqual([call.function.name for call in whole], ["ring"])
        name, arguments, finish = "", "", None
        for chunk in self.ask(tool_choice=named, stream=True):
            for call in chunk.choices[0].delta.tool_calls or []:
                self.assertEqual(call.index, 0)
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            finish = chunk.choices[0].finish_reason or finish
        self.assertEqual((name, json.loads(arguments), finish), ("ring", json.loads(whole[0].function.arguments), "tool_calls"))

    def test_functions_of_the_older_form(self):
        older = {"tools": openai.omit, "parallel_tool_calls": openai.omit, "functions": [tool["function"] for tool in self.OFFERED], "function_call": {"name": "ring"}}
        choice = self.ask(**older).choices[0]
        self.assertEqual((choice.finish_reason, choice.message.tool_calls), ("function_call", None))
        self.check(choice.message.function_call)
        messages = [{"role": "user", "content": "Ring!"}, choice.message, {"role": "function", "name": "ring", "content": "Rang."}]
        self.assertIsNone(self.ask(**{**older, "messages": messages, "function_call": "none", "max_tokens": 8}).choices[0].message.function_call)

    def test_the_result_of_a_call_goes_to_the_answer_that_made_it(self):
        tools = [{"type": "function", "strict": True, **tool["function"]} for tool in self.OFFERED]
        settings = {"model": self.NAME, "tools": tools, "parallel_tool_calls": False, "temperature": 0, "max_output_tokens": 200}
        made = self.c.responses.create(input="How is it?", tool_choice="required", **settings)
        result = {"type": "function_call_output", "call_id": made.output[0].call_id, "output": "Sunny."}
        after = self.c.responses.create(input=[result], previous_response_id=made.id, tool_choice="none", **{**settings, "max_output_tokens": 8})
        items = list(self.c.responses.input_items.list(after.id, order="asc"))
        self.assertEqual([item.type for item in items], ["message", "function_call", "function_call_output"])

    def test_a_call_as_an_item_of_a_response(self):
        tools = [{"type": "function", "strict": True, **tool["function"]} for tool in self.OFFERED]
        answer = self.c.responses.create(model=self.NAME, input="How is it?", tools=tools, tool_choice="required", parallel_tool_calls=False, max_output_tokens=200)
        self.assertEqual([item.type for item in answer.output], ["function_call"])
        self.check(answer.output[0])

    def test_a_schema_that_cannot_be_kept_is_refused_by_name(self):
        odd = {"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}}}
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(tools=[odd], tool_choice="required")
        self.assertIn("uniqueItems", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
