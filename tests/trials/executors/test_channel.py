import multiprocessing
import resource

import pytest

from bompnas.trials.executors.channel import SMALL, Channel


@pytest.fixture
def ends(tmp_path):
    ours, theirs = multiprocessing.Pipe()
    ends = Channel(ours, tmp_path), Channel(theirs, tmp_path)
    yield ends
    for end in ends:
        end.close()


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 10_000_000])
def test_messages_of_any_size_arrive_and_leave_nothing(ends, tmp_path, size):
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    ends[0].send(message)  # nobody is reading yet
    assert ends[1].receive() == message
    assert list(tmp_path.iterdir()) == []


def test_two_sides_that_both_send_do_not_wait_for_each_other(ends):
    messages = [bytes([number]) * 1_000_000 for number in range(4)]
    for end in ends:
        for message in messages:
            end.send(message)
    assert [[end.receive() for _ in messages] for end in ends] == [messages, messages]


def test_the_end_of_the_other_side_shows(ends):
    ends[1].send(b"last")
    ends[1].close()
    assert ends[0].receive() == b"last"
    with pytest.raises(EOFError):
        ends[0].receive()
    with pytest.raises(BrokenPipeError):
        ends[0].send(b"nobody")


def test_the_end_in_the_middle_of_a_message_shows(ends):
    ends[1].pipe._send(b"\0\0\0\7half")  # of seven bytes, four
    ends[1].close()
    with pytest.raises(OSError, match="end of file during message"):
        ends[0].receive()


def test_a_message_that_finds_no_space_leaves_nothing_and_the_next_ones_pass(ends, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            ends[0].send(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    ends[0].send(b"next")
    assert ends[1].receive() == b"next"
