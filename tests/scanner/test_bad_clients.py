"""Clients that break, lie, flood or fall silent: each gets a sentence or is dropped, and the next one is served."""

import logging
import socket
import struct
import time
from threading import Thread

import ismrmrd
import numpy as np
import pytest

from rsd_med.scanner.probe import answers
from tests.data.ismrmrd_files import line, xml

from . import client

CONFIG = client.config_file("zero_filled")
HEAD = client.header(xml((32, 24)))
SILENCE = {"start": 0.2, "idle": 0.2, "message": 0.2}


def head_of(**fields: object) -> bytes:
    """A line's message that ends with its fixed header."""
    head = ismrmrd.AcquisitionHeader(version=1, number_of_samples=8, active_channels=2)
    for name, value in fields.items():
        setattr(head, name, value)
    return struct.pack("<H", 1008) + bytes(head)


def garbage(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


NAN = client.line(line(np.full((4, 32), np.nan), 0))

REFUSED = {
    "unknown message": ([struct.pack("<H", 77)], "Message 77 was sent"),
    "garbage": ([b"\xee" + garbage(5000)], "was sent"),
    "image": ([CONFIG, HEAD, struct.pack("<H", 1022) + bytes(198)], "An image was sent"),
    "line first": ([CONFIG, head_of() + bytes(128)], "before the header"),
    "two headers": ([CONFIG, HEAD, HEAD], "A second header"),
    "long text": ([struct.pack("<HI", 2, 2**32 - 1)], "The configuration has 4,294,967,295 bytes"),
    "long header": ([CONFIG, struct.pack("<HI", 3, 2**31)], "The header has 2,147,483,648 bytes"),
    "long remark": ([CONFIG, struct.pack("<HI", 5, 10**6)], "The remark has 1,000,000 bytes"),
    "no text": ([struct.pack("<HI", 2, 2) + b"\xff\xfe"], "not UTF-8"),
    "no name": ([struct.pack("<H1024s", 1, b"\xff")], "not UTF-8"),
    "no xml": ([CONFIG, client.header(b"<no")], "not well-formed XML"),
    "entities": ([CONFIG, client.header(b"<!DOCTYPE a><ismrmrdHeader/>")], "document type"),
    "version": ([CONFIG, HEAD, head_of(version=2)], "version 2"),
    "samples": ([CONFIG, HEAD, head_of(number_of_samples=65535)], "65535 samples"),
    "channels": ([CONFIG, HEAD, head_of(active_channels=65535)], "65535 channels"),
    "dimensions": ([CONFIG, HEAD, head_of(trajectory_dimensions=65535)], "65535 dimensions"),
    "discards": ([CONFIG, HEAD, head_of(discard_pre=9)], "discards 9"),
    "waveform": ([CONFIG, HEAD, client.waveform(1, 1)[:-16] + b"\xff" * 8 + bytes(8)], "A waveform of"),
    "nan": ([CONFIG, HEAD, NAN], "NaN"),
    "noise alone": (
        [CONFIG, HEAD, client.line(line(np.ones((2, 8)), 0, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]))],
        "no line of an image",
    ),
    "zeros": ([CONFIG, HEAD, client.line(line(np.zeros((2, 32)), 0))], "zero everywhere"),
}


@pytest.fixture(scope="module")
def good(small):
    """Messages of a scan that is right."""
    return [CONFIG, *client.measurement(small)]


@pytest.mark.parametrize(("messages", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_measurement_is_refused_in_a_sentence(serve, messages, sentence):
    answer = client.ask(serve(connections=1), messages)
    assert (answer.closed, answer.images) == (True, [])
    assert len(answer.errors) == 1
    assert sentence in answer.errors[0]
    assert "internal error" not in answer.errors[0]


def test_half_messages_and_clients_that_vanish_leave_their_place(serve, good):
    """One place: if any of them kept it, the next would be refused."""
    address = serve(connections=1, **SILENCE)
    whole = b"".join(good)
    for size in (0, 1, 2, 100, 1026, 1030, 1500, len(whole) - 1, len(whole)):
        with socket.create_connection(address) as connection:
            connection.sendall(whole[:size])
            if size % 2:  # without a farewell: the system sends a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _await(lambda: not client.ask(address, []).errors)
    _await(lambda: len(client.ask(address, good).images) == 1)


@pytest.mark.parametrize("size", [0, 1, 500, 1500, 3000])
def test_who_falls_silent_is_told_and_let_go(serve, good, size):
    with socket.create_connection(serve(connections=1, **SILENCE)) as connection:
        connection.sendall(b"".join(good)[:size])
        answer = client.read_answer(connection)
    assert answer.closed
    assert "Nothing came for 0.2 s, or a message did not end within as long" in answer.errors[0]


def test_a_trickle_does_not_reset_the_clock(serve, good):
    """A byte every 50 ms is never silent, and yet its message must end."""
    with socket.create_connection(serve(message=0.3)) as connection:

        def trickle() -> None:
            for byte in good[0]:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return
                time.sleep(0.05)

        sender = Thread(target=trickle)
        sender.start()
        answer = client.read_answer(connection)
    sender.join()
    assert "did not end within as long" in answer.errors[0]


def test_a_connection_holds_no_more_than_its_share(serve, good):
    many = [good[0], good[1], *(good[5:8] * 400)]
    answer = client.ask(serve(bytes_each=1 << 20), many)
    assert "More than 1 MiB of raw data were sent" in answer.errors[0]
    tiny = [CONFIG, HEAD, *[client.line(line(np.ones((1, 1)), 0))] * 2000]
    assert "More than 1 MiB" in client.ask(serve(bytes_each=1 << 20), tiny).errors[0]  # headers are held as well


def test_a_connection_has_an_end(serve, good):
    answer = client.ask(serve(session=1e-6), good)
    assert "was open for 1e-06 s, the most that one may take" in answer.errors[0]


def test_ten_at_once_are_served_or_told_to_come_again(serve, good, caplog):
    caplog.set_level(logging.INFO, "rsd_med.scanner")
    address = serve(connections=2)
    answers_of = {}
    bad = [garbage(3000), b"".join(good)[:-7], struct.pack("<HI", 2, 2**32 - 1)]

    def one(number: int) -> None:
        answers_of[number] = client.ask(address, good if number % 2 else [bad[number // 2 % 3]], close=number % 2 == 1)

    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        first.sendall(CONFIG)
        second.sendall(CONFIG)
        _await(lambda: sum("from 127.0.0.1" in record.getMessage() for record in caplog.records) == 2)
        threads = [Thread(target=one, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers(*address)
    assert all(not answer.images for answer in answers_of.values())
    assert sum("All places of this server are taken" in text for a in answers_of.values() for text in a.texts) >= 8
    assert sum("is refused" in record.getMessage() for record in caplog.records) == 1
    _await(lambda: len(client.ask(address, good).images) == 1)


def test_what_a_client_sends_is_in_no_log(serve, good, caplog):
    """The header names a patient (DOE^JANE, 4711), the remark another."""
    caplog.set_level(logging.DEBUG)
    address = serve()
    client.ask(address, [good[0], client.remark("ROE^RICHARD"), *good[1:]])
    client.ask(address, [CONFIG, client.header(good[1][6:-20])])
    client.ask(address, [client.config_text("patient: ROE^RICHARD")])
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "17 lines, 1 slices" in said
    for name in ("DOE", "JANE", "4711", "ROE"):
        assert name not in said


def test_a_defect_is_told_to_the_client_and_named_in_the_log(serve, good, caplog, monkeypatch):
    caplog.set_level(logging.INFO)

    def broken(*_: object) -> None:
        raise KeyError("DOE^JANE")

    monkeypatch.setattr("rsd_med.scanner.session.reconstruct_slice", broken)
    answer = client.ask(serve(), good)
    assert answer.errors[0].startswith("error: internal error: KeyError")
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "error: KeyError" in said
    assert "DOE" not in said


def _await(true, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
