"""What happens to the writers: SIGKILL and a new start, SIGSTOP for longer than the group waits and SIGCONT, orderly leaving,
one more that joins for a while. All at times that a seed decides."""

import heapq
import itertools
import random
import signal
import time
from collections import Counter

from services import Service

SESSION_MS, POLL_INTERVAL_MS = 2500, 4000
PROPERTIES = (f"session.timeout.ms={SESSION_MS},heartbeat.interval.ms=500,max.poll.interval.ms={POLL_INTERVAL_MS},"
              "topic.metadata.refresh.interval.ms=1000")


class Member:
    """One consumer-lake, again and again."""

    def __init__(self, world, number, settings, static):
        properties = PROPERTIES + (f",group.instance.id=storm-{number}" if static else "")
        self.service = Service(world, "consumer-lake", {**settings, "KAFKA_PROPERTIES": properties})
        self.service.log = world.folder / f"member-{number}.log"
        self.state, self.started = "down", 0.0

    def start(self):
        self.service.start()
        self.state, self.started = "up", time.monotonic()

    def may_leave(self):
        """A process that has hardly begun does not listen for SIGTERM yet."""
        return time.monotonic() - self.started > 3

    def signal(self, which, state):
        self.service.process.send_signal(which)
        self.state = state

    def check(self):
        """It may only end when it was told to."""
        code = self.service.process.poll() if self.service.process else None
        if self.state == "leaving" and code is not None:
            assert code == 0, f"left with {code}\n{self.service.tail()}"
            self.state = "down"
        assert self.state not in ("up", "stopped") or code is None, f"ended by itself with {code}\n{self.service.tail()}"


class Chaos:
    """`regulars` come back after each end; `guest` joins and leaves."""

    def __init__(self, regulars, guest, seed):
        self.regulars, self.guest = regulars, guest
        self.chance = random.Random(seed)
        self.events, self.order = [], itertools.count()
        self.done = Counter()

    def plan(self, seconds, **counts):
        """So many of each kind, spread over the time."""
        for kind, count in counts.items():
            for index in range(count):
                self.at(seconds * (index + self.chance.random()) / count, kind)

    def at(self, moment, kind, member=None):
        heapq.heappush(self.events, (moment, next(self.order), kind, member))

    def run(self, still_going):
        """Until everything planned has happened and `still_going` says no."""
        begun = time.monotonic()
        while self.events or still_going():
            now = time.monotonic() - begun
            while self.events and self.events[0][0] <= now:
                _, _, kind, member = heapq.heappop(self.events)
                self.happen(kind, member, now)
            self.check()
            time.sleep(0.02)
        return time.monotonic() - begun

    def check(self):
        for member in (*self.regulars, self.guest):
            member.check()

    def happen(self, kind, member, now):
        later = self.chance.uniform
        if kind == "continue":
            member.signal(signal.SIGCONT, "up")
        elif kind == "start" and member.state == "down":
            member.start()
        elif kind == "start":
            self.at(now + 0.1, kind, member)
        elif kind == "join":
            if self.guest.state == "down":
                self.done[kind] += 1
                self.guest.start()
                self.at(now + later(3, 6), "leave", self.guest)
            else:
                self.at(now + 0.5, kind)
        else:
            self.befall(kind, member, now)

    def befall(self, kind, member, now):
        """A kill, a stop or a leave; of whom, chance decides, unless it is said."""
        if member and member.state in ("down", "leaving"):
            return
        up = [one for one in ([member] if member else [*self.regulars, self.guest]) if one.state == "up"]
        if kind == "leave":
            up = [one for one in up if one.may_leave()]
        if not up:
            self.at(now + 0.2, kind, member)
            return
        member = self.chance.choice(up)
        self.done[kind] += 1
        later = self.chance.uniform
        if kind == "kill":
            member.service.kill()
            member.state = "down"
        elif kind == "stop":
            member.signal(signal.SIGSTOP, "stopped")
            self.at(now + POLL_INTERVAL_MS / 1000 + later(0.5, 2), "continue", member)
        else:
            member.signal(signal.SIGTERM, "leaving")
        if kind != "stop" and member is not self.guest:
            self.at(now + later(0, 1), "start", member)

    def calm(self):
        """Everybody up: the regulars finish what is left."""
        for member in (*self.regulars, self.guest):
            if member.state == "stopped":
                member.signal(signal.SIGCONT, "up")
            if member.state == "down" and member is not self.guest:
                member.start()
