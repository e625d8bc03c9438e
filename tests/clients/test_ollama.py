"""The official `ollama` Python package."""

import asyncio
import json
import math
import struct
import tempfile
import unittest
from pathlib import Path

import ollama
from common import GREEDY, MODEL, URL, client, ensure_model
from pydantic import BaseModel
from registry import Registry


class Pet(BaseModel):
    name: str
    age: int
    tame: bool


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ensure_model()
        cls.c = client()

    def test_list_names_the_model_with_its_details(self):
        model = next(m for m in self.c.list().models if m.model == f"{MODEL}:latest")
        self.assertEqual(len(model.digest.removeprefix("sha256:")), 64)
        self.assertGreater(model.size, 1_000_000)
        self.assertIsNotNone(model.modified_at)
        self.assertEqual(model.details.format, "gguf")
        self.assertEqual(model.details.family, "llama")
        self.assertEqual(model.details.quantization_level, "Q4_K_M")
        self.assertRegex(model.details.parameter_size, r"^[\d.]+[KMB]$")

    def test_show_tells_the_model_card(self):
        show = self.c.show(MODEL)
        self.assertEqual(show.modelinfo["general.architecture"], "llama")
        self.assertIn("completion", show.capabilities)
        self.assertIn("<|start_header_id|>", show.template)
        self.assertIn("num_ctx", show.parameters)
        self.assertIn("FROM", show.modelfile)

    def test_copy_and_delete(self):
        self.assertEqual(self.c.copy(MODEL, "copied:one").status, "success")
        self.assertIn("copied:one", [m.model for m in self.c.list().models])
        self.assertEqual(self.c.generate("copied:one", "Once", options=GREEDY).response, self.c.generate(MODEL, "Once", options=GREEDY).response)
        self.assertEqual(self.c.delete("copied:one").status, "success")
        self.assertNotIn("copied:one", [m.model for m in self.c.list().models])

    def test_create_from_a_model_with_a_system_message_streams_its_progress(self):
        steps = list(self.c.create(model="pirate", from_=MODEL, system="You are a pirate.", parameters={"temperature": 0}, stream=True))
        self.assertEqual(steps[-1].status, "success")
        show = self.c.show("pirate")
        self.assertIn("You are a pirate.", show.modelfile)
        self.c.delete("pirate")

    def test_push_and_pull_hand_a_model_round(self):
        with Registry() as registry:
            name = f"{registry.host}/me/handed:round"
            self.c.copy(MODEL, name)
            here = next(m for m in self.c.list().models if m.model == name)
            steps = list(self.c.push(name, stream=True))
            self.assertEqual([steps[0].status, steps[-2].status, steps[-1].status], ["retrieving manifest", "pushing manifest", "success"])
            sent = {step.digest: step for step in steps if step.digest}
            self.assertEqual(set(sent), set(registry.blobs))
            self.assertTrue(all(step.completed == step.total for step in sent.values()))
            self.assertEqual(self.c.push(name).status, "success")
            self.c.delete(name)
            self.assertEqual(self.c.pull(name, insecure=True).status, "success")
            there = next(m for m in self.c.list().models if m.model == name)
            self.assertEqual((there.digest, there.size), (here.digest, here.size))
            self.c.delete(name)

    def test_what_cannot_be_pushed_says_so(self):
        for name, status, words in [(MODEL, 400, "registry.ollama.ai"), ("none", 404, "not found")]:
            with self.assertRaises(ollama.ResponseError) as caught:
                self.c.push(name)
            self.assertEqual(caught.exception.status_code, status)
            self.assertIn(words, caught.exception.error)
        # What shows only on the way comes in the stream.
        with Registry() as registry:
            registry.refuses = True
            name = f"{registry.host}/me/m"
            self.c.copy(MODEL, name)
            with self.assertRaises(ollama.ResponseError) as caught:
                list(self.c.push(name, stream=True))
            self.assertIn("does not allow it (403)", caught.exception.error)
            self.assertEqual(registry.manifests, {})
            self.c.delete(name)

    def test_an_adapter_of_peft_comes_file_by_file(self):
        shapes = {"A": [4, 768], "B": [256, 4]}
        header, data = {}, b""
        for side, shape in shapes.items():
            numbers = struct.pack(f"<{math.prod(shape)}f", *(math.sin(i) for i in range(math.prod(shape))))
            header[f"base_model.model.model.layers.1.mlp.down_proj.lora_{side}.weight"] = {
                "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
            data += numbers
        header = json.dumps(header).encode()
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["down_proj"], "bias": "none"}
        files = {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": struct.pack("<Q", len(header)) + header + data}
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            adapters = {name: self.c.create_blob(Path(folder, name)) for name in files}
        self.assertEqual(self.c.create(model="adapted", from_=MODEL, adapters=adapters).status, "success")
        text = lambda model: self.c.generate(model, "Once upon a time", raw=True, options=GREEDY).response
        self.assertNotEqual(text("adapted"), text(MODEL))
        self.c.delete("adapted")

    def test_ps_tells_what_is_loaded_and_keep_alive_0_unloads(self):
        self.c.generate(MODEL, "Once", options=GREEDY, keep_alive="10m")
        loaded = next(m for m in self.c.ps().models if m.model == f"{MODEL}:latest")
        self.assertGreater(loaded.size, 0)
        self.assertGreater(loaded.context_length, 0)
        self.assertIsNotNone(loaded.expires_at)
        self.assertEqual(self.c.generate(MODEL, keep_alive=0).done_reason, "unload")
        self.assertNotIn(f"{MODEL}:latest", [m.model for m in self.c.ps().models])

    def test_an_empty_prompt_loads(self):
        answer = self.c.generate(MODEL)
        self.assertTrue(answer.done)
        self.assertEqual(answer.done_reason, "load")
        self.assertEqual(answer.response, "")

    def test_what_is_not_there_is_a_404_that_names_it(self):
        for call in [
            lambda: self.c.generate("no-such-model", "Hi"),
            lambda: self.c.chat("no-such-model", [{"role": "user", "content": "Hi"}]),
            lambda: self.c.show("no-such-model"),
            lambda: self.c.delete("no-such-model"),
            lambda: self.c.copy("no-such-model", "x"),
            lambda: self.c.embed("no-such-model", "Hi"),
        ]:
            with self.assertRaises(ollama.ResponseError) as caught:
                call()
            self.assertEqual(caught.exception.status_code, 404)
            self.assertIn("no-such-model", caught.exception.error)


class Generate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ensure_model()
        cls.c = client()

    def test_counts_times_and_reason(self):
        answer = self.c.generate(MODEL, "Tell me a story.", options=GREEDY)
        self.assertEqual(answer.model, MODEL)
        self.assertTrue(answer.done)
        self.assertGreater(len(answer.response), 10)
        self.assertEqual((answer.done_reason, answer.eval_count), ("length", 24))
        self.assertGreater(answer.prompt_eval_count, 5)
        for duration in (answer.total_duration, answer.prompt_eval_duration, answer.eval_duration):
            self.assertGreater(duration, 1000, "nanoseconds")
        self.assertGreaterEqual(answer.total_duration, answer.eval_duration)

    def test_a_stream_says_what_the_whole_answer_says(self):
        whole = self.c.generate(MODEL, "Tell me a story.", options=GREEDY)
        pieces = list(self.c.generate(MODEL, "Tell me a story.", options=GREEDY, stream=True))
        self.assertGreater(len(pieces), 5)
        self.assertEqual("".join(p.response for p in pieces), whole.response)
        self.assertEqual([p.done for p in pieces], [False] * (len(pieces) - 1) + [True])
        self.assertEqual(pieces[-1].eval_count, whole.eval_count)

    def test_the_same_seed_gives_the_same_text_and_another_another(self):
        text = lambda seed: self.c.generate(MODEL, "Once upon a time", raw=True, options={"temperature": 1.5, "seed": seed, "num_predict": 40}).response
        self.assertEqual(text(1), text(1))
        self.assertNotEqual(text(1), text(2))

    def test_raw_takes_no_template(self):
        raw = self.c.generate(MODEL, "Once upon a time", raw=True, options=GREEDY)
        chat = self.c.generate(MODEL, "Once upon a time", options=GREEDY)
        self.assertLess(raw.prompt_eval_count, chat.prompt_eval_count)

    def test_stop_ends_before_the_text_that_stops(self):
        whole = self.c.generate(MODEL, "Tell me a story.", options=GREEDY).response
        word = whole.split()[4]
        answer = self.c.generate(MODEL, "Tell me a story.", options={**GREEDY, "stop": [word]})
        self.assertEqual(answer.response, whole[: whole.index(word)])
        self.assertEqual(answer.done_reason, "stop")

    def test_a_json_schema_is_kept(self):
        for seed in range(3):
            options = {"temperature": 1.0, "seed": seed, "num_predict": 400}
            answer = self.c.generate(MODEL, "Describe a dog.", format=Pet.model_json_schema(), options=options)
            if answer.done_reason == "stop":
                Pet.model_validate_json(answer.response)
            else:
                self.assertEqual(answer.done_reason, "length")

    def test_the_context_of_an_answer_goes_on(self):
        first = self.c.generate(MODEL, "Tell me a story.", options=GREEDY)
        self.assertGreater(len(first.context), first.eval_count)
        second = self.c.generate(MODEL, "And then?", context=first.context, options=GREEDY)
        self.assertGreater(second.prompt_eval_count, len(first.context))

    def test_a_prompt_that_is_too_long_is_an_error_that_says_by_how_much(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.c.generate(MODEL, "word " * 5000, options=GREEDY)
        self.assertEqual(caught.exception.status_code, 400)
        self.assertRegex(caught.exception.error, r"\d+ tokens.*2048")

    def test_log_probabilities(self):
        answer = self.c.generate(MODEL, "Once upon a time", raw=True, logprobs=True, top_logprobs=3, options=GREEDY)
        self.assertEqual(len(answer.logprobs), answer.eval_count)
        self.assertEqual("".join(entry.token for entry in answer.logprobs), answer.response)
        for entry in answer.logprobs:
            self.assertLessEqual(entry.logprob, 0)
            self.assertEqual(len(entry.top_logprobs), 3)
            # Greedy takes the likeliest.
            self.assertEqual(entry.top_logprobs[0].token, entry.token)
            self.assertLessEqual(sum(math.exp(top.logprob) for top in entry.top_logprobs), 1.000001)


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ensure_model()
        cls.c = client()

    def test_a_conversation(self):
        messages = [{"role": "user", "content": "Tell me a story about a rabbit."}]
        first = self.c.chat(MODEL, messages, options=GREEDY)
        self.assertEqual(first.message.role, "assistant")
        self.assertGreater(len(first.message.content), 10)
        messages += [first.message, {"role": "user", "content": "What was its name?"}]
        second = self.c.chat(MODEL, messages, options=GREEDY)
        self.assertGreater(second.prompt_eval_count, first.prompt_eval_count)

    def test_a_stream_says_what_the_whole_answer_says(self):
        messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Tell me a story about a fox."}]
        whole = self.c.chat(MODEL, messages, options=GREEDY)
        pieces = list(self.c.chat(MODEL, messages, options=GREEDY, stream=True))
        self.assertEqual("".join(p.message.content for p in pieces), whole.message.content)
        self.assertEqual(pieces[-1].done_reason, whole.done_reason)

    def test_json_is_json(self):
        options = {"temperature": 0.8, "seed": 3, "num_predict": 400}
        answer = self.c.chat(MODEL, [{"role": "user", "content": "Answer in JSON."}], format="json", options=options)
        if answer.done_reason == "stop":
            json.loads(answer.message.content)
        else:
            self.assertEqual(answer.done_reason, "length")

    def test_a_schema_is_kept(self):
        options = {"temperature": 0.8, "seed": 3, "num_predict": 400}
        answer = self.c.chat(MODEL, [{"role": "user", "content": "Describe a cat."}], format=Pet.model_json_schema(), options=options)
        if answer.done_reason == "stop":
            Pet.model_validate_json(answer.message.content)

    def test_a_model_without_tools_says_so(self):
        def weather(city: str) -> str:
            """The weather.

            Args:
              city: where
            """
            return city

        with self.assertRaises(ollama.ResponseError) as caught:
            self.c.chat(MODEL, [{"role": "user", "content": "Hi"}], tools=[weather], options=GREEDY)
        self.assertEqual(caught.exception.status_code, 400)
        self.assertIn("does not support tools", caught.exception.error)

    def test_a_model_that_does_not_think_says_so(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.c.chat(MODEL, [{"role": "user", "content": "Hi"}], think=True, options=GREEDY)
        self.assertEqual(caught.exception.status_code, 400)
        self.assertIn("does not support thinking", caught.exception.error)

    def test_many_at_once_are_not_mixed_up(self):
        prompts = [f"Tell me a story about {animal}." for animal in ("a fox", "a bear", "a hen", "two mice", "a whale", "a snail", "an owl", "a frog")]
        alone = [self.c.chat(MODEL, [{"role": "user", "content": p}], options=GREEDY).message.content for p in prompts]

        async def together():
            many = ollama.AsyncClient(host=URL)
            calls = [many.chat(MODEL, [{"role": "user", "content": p}], options=GREEDY) for p in prompts]
            return [answer.message.content for answer in await asyncio.gather(*calls)]

        self.assertEqual(asyncio.run(together()), alone)

    def test_who_hangs_up_in_the_middle_is_forgotten(self):
        stream = self.c.generate(MODEL, "Once upon a time", raw=True, stream=True, options={"num_predict": 1000, "seed": 1})
        next(stream)
        stream.close()
        self.assertTrue(self.c.generate(MODEL, "Once", options=GREEDY).done)


class Embed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ensure_model()
        cls.c = client()

    def test_one_and_many(self):
        many = self.c.embed(MODEL, ["A cat sleeps.", "A dog barks."])
        self.assertEqual(len(many.embeddings), 2)
        self.assertGreater(many.prompt_eval_count, 4)
        for vector in many.embeddings:
            self.assertAlmostEqual(sum(x * x for x in vector), 1, places=4)
        one = self.c.embed(MODEL, "A cat sleeps.")
        self.assertEqual(list(one.embeddings[0]), list(many.embeddings[0]))
        self.assertNotEqual(list(many.embeddings[0]), list(many.embeddings[1]))

    def test_the_older_form(self):
        vector = self.c.embeddings(MODEL, "A cat sleeps.").embedding
        self.assertEqual(len(vector), len(self.c.embed(MODEL, "A cat sleeps.").embeddings[0]))


if __name__ == "__main__":
    unittest.main()
