"""Bloom filters that forget, against an exact model."""

import logging
import math
import random

import pytest

from webhook_dedup.stores.generations import Generation, Generations

DAY = 86_400.0


def idents(seed):
    chance = random.Random(seed)
    while True:
        yield f"{chance.getrandbits(128):032x}"


def an_even_load(capacity, error_rate, *, rotations, seed=1):
    """Add ``capacity`` keys a day, ``rotations`` days long; yield the time and what is live."""
    generations = Generations(capacity, error_rate)
    names = idents(seed)
    for turn in range(rotations * capacity):
        now = turn * DAY / capacity
        generations.drop_past(now)
        generations.add(next(names), DAY, now)
        yield now, generations


class TestGeneration:
    @pytest.mark.parametrize(("room", "rate"), [(64, 2**-7), (1000, 2**-10), (18_170, 2**-7)])
    def test_keeps_its_rate_when_full(self, room, rate):
        """A full generation finds foreign keys no oftener than it says, in awkward sizes too."""
        generation = Generation(room, rate)
        names = idents(2)
        for _ in range(room):
            generation.add(next(names), DAY)
        assert generation.full
        asked = 100_000
        found = sum(generation.holds(generation.hashes(next(names))) for _ in range(asked))
        assert found <= asked * rate + 3 * math.sqrt(asked * rate)

    def test_holds_what_was_added(self):
        """No key of a full generation is missed."""
        generation = Generation(500, 2**-9)
        added = [name for name, _ in zip(idents(3), range(500), strict=False)]
        for name in added:
            generation.add(name, DAY)
        assert all(generation.holds(generation.hashes(name)) for name in added)


class TestErrorRate:
    @pytest.mark.parametrize(("capacity", "error_rate"), [(2000, 1e-2), (5000, 1e-3)])
    def test_measured_over_rotations(self, capacity, error_rate):
        """New keys are found no oftener than the stated rate while generations come and go."""
        strangers = idents(99)
        asked = found = 0
        for _, generations in an_even_load(capacity, error_rate, rotations=4):
            found += sum(next(strangers) in generations for _ in range(5))
            asked += 5
        assert found <= asked * error_rate + 3 * math.sqrt(asked * error_rate)

    @pytest.mark.parametrize("error_rate", [0.1, 1e-2, 3e-4, 1e-6, 1e-15])
    def test_rates_add_up_to_less(self, error_rate):
        """The rates of all live generations together never exceed the stated one."""
        for _, generations in an_even_load(1000, error_rate, rotations=3):
            assert 0 < generations.rate <= error_rate

    @pytest.mark.parametrize("times", [2, 10, 50])
    def test_holds_under_overload(self, times):
        """Far more keys than the capacity cost memory, neither the rate nor a key."""
        generations = Generations(1000, 1e-3)
        names = idents(4)
        added = [next(names) for _ in range(1000 * times)]
        for turn, name in enumerate(added):
            generations.add(name, DAY, turn * DAY / len(added))
            assert generations.rate <= 1e-3
        assert all(len(each) <= each.room for each in generations._live)
        assert all(name in generations for name in added)

    def test_budget_returns(self):
        """After an overload has passed, new generations are as cheap as at first."""
        generations = Generations(1000, 1e-3)
        names = idents(5)
        generations.add(next(names), DAY, 0.0)
        first = generations.rate
        for _ in range(20_000):
            generations.add(next(names), DAY, 0.0)
        assert generations.rate > 4 * first
        generations.drop_past(2 * DAY)
        assert generations.rate == 0
        generations.add(next(names), DAY, 2 * DAY)
        assert generations.rate == first

    def test_bits_for_each_live_key(self):
        """A planned load costs at most 2.2 times the bits of a filter that never forgets."""
        for error_rate in (1e-2, 1e-4, 1e-6):
            ideal = math.log2(1 / error_rate) / math.log(2)
            for now, generations in an_even_load(8000, error_rate, rotations=3):
                if now > DAY:
                    assert generations.bits / 8000 <= 2.2 * ideal


class TestForgetting:
    @pytest.mark.parametrize("seed", range(5))
    def test_nothing_is_forgotten_early(self, seed):
        """Whatever the TTLs and the pace, a key is found until its TTL has passed."""
        chance = random.Random(seed)
        names = idents(seed)
        generations = Generations(100, 1e-3)
        exact = {}
        now = 0.0
        for _ in range(3000):
            now += chance.expovariate(chance.choice([1.0, 0.1, 0.001]))
            ttl = chance.choice([7.0, 60.0, 100.0, 3600.0, chance.uniform(1, 5000)])
            name = next(names)
            generations.drop_past(now)
            generations.add(name, ttl, now)
            exact[name] = now + ttl
            exact = {each: ends for each, ends in exact.items() if ends > now}
            for each in chance.sample(sorted(exact), min(10, len(exact))):
                assert each in generations
        generations.drop_past(now)
        assert all(each in generations for each in exact)

    @pytest.mark.parametrize("ttl", [0.1, 1.0, 59.0, 3600.0, 2 * DAY, 400 * DAY])
    def test_equal_ttls_are_outlived_by_an_eighth(self, ttl):
        """A key is gone an eighth of its TTL after its end, however many came after it."""
        for offset in (0.0, 0.3, 0.77, 1.9):
            generations = Generations(1000, 1e-4)
            start = 1000.0 + offset * ttl
            generations.add("first", ttl, start)
            for turn in range(1, 120):
                generations.add(f"later {turn}", ttl, start + ttl * turn / 100)
            generations.drop_past(start + 0.999 * ttl)
            assert "first" in generations
            generations.drop_past(start + 1.126 * ttl)
            assert "first" not in generations

    def test_unequal_ttls_are_outlived_by_a_quarter(self):
        """A short TTL is not kept as long as a long one that is in use beside it."""
        for short, long in ((64.0, 127.9), (60.0, 2 * DAY), (1.0, 1.9)):
            generations = Generations(1000, 1e-4)
            generations.add("long", long, 0.0)
            generations.add("short", short, 0.0)
            for turn in range(1, 100):
                generations.add(f"later {turn}", short, short * turn / 50)
            generations.drop_past(1.251 * short)
            assert "short" not in generations

    def test_everything_goes(self):
        """After the last TTL nothing is left, not even its memory."""
        *_, (now, generations) = an_even_load(1000, 1e-3, rotations=2)
        generations.drop_past(now + DAY)
        assert (len(generations), generations.bits, generations._windows) == (0, 0, {})

    def test_what_was_cleared_is_kept_anew(self):
        """After all was forgotten at once, keys are found again from their next completion on."""
        generations = Generations(1000, 1e-3)
        generations.add("key", DAY, 0.0)
        generations.clear()
        assert "key" not in generations
        generations.add("key", DAY, 0.0)
        assert "key" in generations

    def test_nothing_is_allocated_before_it_is_needed(self):
        """A large capacity costs nothing until keys come."""
        assert Generations(1_000_000_000, 1e-15).bits == 0

    def test_no_ttl_is_not_kept(self):
        """A key without any time to live is not remembered."""
        generations = Generations(1000, 1e-3)
        for ttl in (0.0, -1.0):
            generations.add("key", ttl, 0.0)
        assert "key" not in generations


class TestCrowding:
    def test_one_warning(self, caplog):
        """Going beyond the capacity is said once, with the capacity."""
        generations = Generations(1000, 1e-3)
        for name, _ in zip(idents(6), range(10_000), strict=False):
            generations.add(name, DAY, 0.0)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("webhook_dedup", logging.WARNING)
        assert "1000" in record.getMessage()

    def test_no_warning_as_planned(self, caplog):
        """A load as large as the capacity is nothing to warn of."""
        for _ in an_even_load(2000, 1e-3, rotations=3):
            pass
        assert not caplog.records

    def test_a_planned_load_takes_one_generation_a_window(self):
        """An eighth of the capacity fits into a window, and nine or ten windows are live."""
        for _, generations in an_even_load(4000, 1e-3, rotations=3):
            assert len(generations._live) <= 10

    def test_an_overload_takes_few_generations(self):
        """What comes within one window grows by half each time, and not key by key."""
        generations = Generations(1000, 1e-3)
        for name, _ in zip(idents(8), range(20_000), strict=False):
            generations.add(name, DAY, 0.0)
        assert len(generations._live) <= 16

    def test_windows_follow_the_load(self):
        """Under a lasting overload the next windows open large instead of growing each."""
        generations = Generations(1000, 1e-3)
        most = 0
        for turn, name in zip(range(30_000), idents(7), strict=False):
            now = turn * DAY / 10_000
            generations.drop_past(now)
            generations.add(name, DAY, now)
            if now > 1.5 * DAY:
                most = max(most, len(generations._live))
        assert most <= 20
