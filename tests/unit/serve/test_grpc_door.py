"""The gRPC door on a real port, before one replica without Ray: calls, and every refusal by gRPC's codes."""

import asyncio

import grpc
import numpy as np
import pytest
from tritonclient.grpc import aio as triton
from tritonclient.utils import InferenceServerException

from serve.grpc_door import InferenceService
from tests.unit.serve.sum_model import TOKEN, HeldModel, SumModel, serving

HEADERS = {"authorization": f"Bearer {TOKEN}"}


class OneModel:
    """What the door asks, where there is one deployment."""

    def __init__(self, server):
        self._server = server

    async def ask(self, deployment, version, question):
        return await self._server.ask(question, version)

    async def describe(self, deployment, version, question):
        return await self._server.describe(question, version)

    async def is_ready(self, deployment):
        return deployment == "digits"


def ask(server, calls):
    """Start the door, and give what `calls` gives of a client."""

    async def asked():
        door = grpc.aio.server(options=[("grpc.max_receive_message_length", 2**30)])
        door.add_generic_rpc_handlers((InferenceService(OneModel(server)),))
        port = door.add_insecure_port("127.0.0.1:0")
        await door.start()
        try:
            async with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
                return await calls(client)
        finally:
            await door.stop(grace=None)

    return asyncio.run(asked())


def rows(array):
    given = triton.InferInput("x", array.shape, "FP32")
    given.set_data_from_numpy(array)
    return [given]


ROWS = rows(np.array([[1, 2], [3, 4]], "f4"))


def refusal(server, **changes):
    """Give the code and the words by which a call is refused."""

    async def calls(client):
        with pytest.raises(InferenceServerException) as refused:
            await client.infer(**{"model_name": "digits", "inputs": ROWS, "headers": HEADERS, **changes})
        return refused.value.status(), refused.value.message()

    return ask(server, calls)


def test_the_server_and_its_model_describe_themselves():
    async def calls(client):
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits")
        assert not await client.is_model_ready("nobody")
        return await client.get_server_metadata(), await client.get_model_metadata("digits", "3", headers=HEADERS)

    server, model = ask(serving(SumModel()), calls)
    assert (server.name, list(server.extensions)) == ("slipway", ["binary_tensor_data"])
    assert (model.name, list(model.versions), model.inputs[0].datatype) == ("digits", ["3"], "FP32")


def test_a_prediction_is_the_models():
    async def calls(client):
        return await client.infer("digits", ROWS, request_id="42", headers=HEADERS)

    answer = ask(serving(SumModel()), calls)
    assert answer.get_response().id == "42"
    assert answer.as_numpy("sum").tolist() == [3, 7]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (
            {"inputs": rows(np.zeros((1, 3), "f4"))},
            "INVALID_ARGUMENT",
            "input 'x': expected shape [-1, 2] (-1: any size",
        ),
        ({"inputs": rows(np.zeros((0, 2), "f4"))}, "INVALID_ARGUMENT", "input 'x': shape [0, 2] holds nothing"),
        ({"outputs": [triton.InferRequestedOutput("mean")]}, "INVALID_ARGUMENT", "the model gives the outputs 'sum'"),
        ({"inputs": rows(np.full((1, 2), -1, "f4"))}, "INTERNAL", "the model failed: ValueError: negative numbers"),
        ({"headers": {}}, "UNAUTHENTICATED", "send an API token of the platform"),
        ({"model_version": "2"}, "NOT_FOUND", "digits serves version 3; got version 2"),
        ({"inputs": rows(np.zeros((2**17 + 1, 2), "f4"))}, "RESOURCE_EXHAUSTED", "the body has 1048"),
    ],
)
def test_a_refusal_has_grpcs_code_and_the_same_words_as_over_rest(changes, code, words):
    status, message = refusal(serving(SumModel(), max_body_mib=1), **changes)
    assert status == f"StatusCode.{code}"
    assert message.startswith(words)


def test_a_model_slower_than_its_timeout_exceeds_the_deadline_and_the_next_call_is_answered():
    model = HeldModel()
    server = serving(model, request_timeout_seconds=1.0)

    async def calls(client):
        model.lets_go.clear()
        with pytest.raises(InferenceServerException) as late:
            await client.infer("digits", ROWS, headers=HEADERS)
        model.lets_go.set()
        return late.value, await client.infer("digits", ROWS, headers=HEADERS)

    late, following = ask(server, calls)
    assert late.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert late.message() == "the model took longer than 1 s"
    assert following.as_numpy("sum").tolist() == [3, 7]
