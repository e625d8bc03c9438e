"""Frameworks over the clients: langchain-ollama speaks Ollama's interface, Pydantic AI OpenAI's. They look at more of the answers than the clients do."""

import asyncio
import os
import unittest
from typing import Literal

import common
from common import MODEL, URL, ensure_model
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, capture_run_messages
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

# LangChain would send traces to a service of its own.
os.environ["LANGSMITH_TRACING"] = "false"

TOOLS_MODEL = "framework-tools"
GREEDY = {"temperature": 0, "seed": 7, "num_predict": 24}


class Pet(BaseModel):
    name: Literal["Rex", "Tom"]
    age: Literal[1, 2, 3]
    tame: bool


@tool
def weather(city: str) -> str:
    """Tells the weather."""
    return f"sunny in {city}"


def setUpModule():
    ensure_model()
    common.make_tools_model(TOOLS_MODEL)


def tearDownModule():
    common.client().delete(TOOLS_MODEL)


class LangChain(unittest.TestCase):
    def test_a_chat_whole_and_in_pieces(self):
        chat = ChatOllama(model=MODEL, base_url=URL, validate_model_on_init=True, **GREEDY)
        answer = chat.invoke("Tell me a story about a rabbit.")
        self.assertEqual(answer.usage_metadata["output_tokens"], 24)
        self.assertEqual(answer.response_metadata["done_reason"], "length")
        pieces = list(chat.stream("Tell me a story about a rabbit."))
        self.assertGreater(len(pieces), 3)
        self.assertEqual("".join(piece.content for piece in pieces), answer.content)
        self.assertEqual(OllamaLLM(model=MODEL, base_url=URL, **GREEDY).invoke("Tell me a story about a rabbit."), answer.content)

    def test_a_chat_asynchronously(self):
        async def both():
            chat = ChatOllama(model=MODEL, base_url=URL, **GREEDY)
            return await asyncio.gather(chat.ainvoke("Hello"), chat.ainvoke("Hello"))

        first, second = asyncio.run(both())
        self.assertEqual(first.content, second.content)

    def test_structured_output(self):
        chat = ChatOllama(model=MODEL, base_url=URL, seed=7, num_predict=200)
        self.assertIsInstance(chat.with_structured_output(Pet, method="json_schema").invoke("A pet"), Pet)

    def test_tools_and_their_results(self):
        chat = ChatOllama(model=TOOLS_MODEL, base_url=URL, **GREEDY).bind_tools([weather])
        call = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1"}
        answer = chat.invoke([HumanMessage("How is the weather?"), AIMessage("", tool_calls=[call]), ToolMessage("sunny", tool_call_id="c1")])
        self.assertGreater(answer.usage_metadata["input_tokens"], 60)

    def test_log_probabilities(self):
        answer = ChatOllama(model=MODEL, base_url=URL, logprobs=True, top_logprobs=2, **GREEDY).invoke("Hello")
        tokens = answer.response_metadata["logprobs"]
        self.assertTrue(tokens and all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in map(dict, tokens)))

    def test_embeddings(self):
        embeddings = OllamaEmbeddings(model=MODEL, base_url=URL)
        one, two = embeddings.embed_documents(["A cat sleeps.", "The sea is deep."])
        self.assertEqual(embeddings.embed_query("A cat sleeps."), one)
        self.assertNotEqual(one, two)

    def test_errors_say_what_is_wrong(self):
        image = HumanMessage([{"type": "text", "text": "See"}, {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}])
        for model, prompt, words in [
            ("no-such-model", "Hello", "no-such-model"),
            (MODEL, "word " * 5000, "too many"),
            (MODEL, [image], "messages[0].images"),
        ]:
            with self.assertRaisesRegex(Exception, words.replace("[", r"\[")):
                ChatOllama(model=model, base_url=URL).invoke(prompt)


class PydanticAi(unittest.TestCase):
    def provider(self):
        return OpenAIProvider(base_url=f"{URL}/v1", api_key="unused")

    def chat(self, model=MODEL, **settings):
        return Agent(OpenAIChatModel(model, provider=self.provider()), model_settings={"max_tokens": 200, "seed": 7, **settings})

    def test_an_answer_and_its_pieces(self):
        agent = self.chat(max_tokens=24, temperature=0)
        whole = agent.run_sync("Tell me a story about a rabbit.")
        self.assertEqual(whole.usage.output_tokens, 24)

        async def streamed():
            async with agent.run_stream("Tell me a story about a rabbit.") as answer:
                return "".join([piece async for piece in answer.stream_text(delta=True)])

        self.assertEqual(asyncio.run(streamed()), whole.output)

    def test_output_by_a_tool_that_must_be_called(self):
        for model in [OpenAIChatModel, OpenAIResponsesModel]:
            agent = Agent(
                model(TOOLS_MODEL, provider=self.provider()), output_type=Pet, model_settings={"max_tokens": 200, "seed": 7, "parallel_tool_calls": False}
            )
            with capture_run_messages() as messages:
                self.assertIsInstance(agent.run_sync("A pet").output, Pet)
            self.assertTrue(any(part.part_kind == "tool-call" for message in messages for part in message.parts))

    def test_output_by_a_schema(self):
        agent = Agent(OpenAIChatModel(TOOLS_MODEL, provider=self.provider()), output_type=NativeOutput(Pet), model_settings={"max_tokens": 200})
        self.assertIsInstance(agent.run_sync("A pet").output, Pet)

    def test_errors_keep_their_status(self):
        with self.assertRaises(ModelHTTPError) as caught:
            self.chat("no-such-model").run_sync("Hello")
        self.assertEqual(caught.exception.status_code, 404)
        with self.assertRaises(ModelHTTPError) as caught:
            self.chat().run_sync("word " * 5000)
        self.assertEqual(caught.exception.status_code, 400)
