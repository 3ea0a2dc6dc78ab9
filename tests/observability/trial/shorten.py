"""One rule makes the alert rules quick: what is a time is divided by a factor, and nothing else is changed. A time is: `for:`, a
range (`[10m]`), an offset, and an age that a bound is set to (`…_seconds) > 300`). How long one answer may take, how many
events are too many and how many a second stay as they are."""

import re

UNITS = {"s": 1, "m": 60, "h": 3600}
DURATION = re.compile(r"(?P<before>\bfor: |\[|\boffset )(?P<number>\d+)(?P<unit>[smh])\b")
AGE = re.compile(r"(?P<before>seconds\) > )(?P<number>\d+)\b")


def shortened(rules, factor):
    """The text of a file of rules with times divided by `factor`."""
    def duration(match):
        return f"{match['before']}{round(int(match['number']) * UNITS[match['unit']] * 1000 / factor)}ms"

    def age(match):
        return f"{match['before']}{int(match['number']) / factor:g}"

    return AGE.sub(age, DURATION.sub(duration, rules))
