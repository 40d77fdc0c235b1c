"""Simulated card transactions, and what is known of each at the moment it is made.

What the simulation models: customers with a home, spending habits and hours of the day; terminals with a place, most of
them visited by customers nearby; and three kinds of fraud, in the manner of the transaction simulator of Le Borgne,
Siblini, Lebichot and Bontempi, "Reproducible Machine Learning for Credit Card Fraud Detection - Practical Handbook"
(2022), chapter 3:

- unusually high amounts, at any terminal,
- compromised terminals, where part of the payments is fraudulent for four weeks,
- compromised cards, with which somebody else pays larger amounts, mostly far from the customer's home, for two weeks.

Honest customers sometimes travel and sometimes buy something dear, and a few labels are wrong, so that no rule is
perfect. What it does not model: merchants' branches, currencies, cards shared by people, seasons, fraudsters who adapt,
and frauds that are noticed late by different delays (one delay, a week, stands for all).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

DAYS = 120
LABEL_DELAY_DAYS = 7
"""How long it takes until a fraud is known; features use no label younger than that."""
_DAY_SECONDS = 86_400
_WINDOWS_DAYS = (1, 7, 30)
_MAP_SIZE = 100.0
_NEAREST_TERMINALS = 25


@dataclass(frozen=True)
class Transactions:
    """Transactions in the order of time; every array has shape (n,)."""

    seconds: Array
    """Since the start of the first day."""
    customer: Array
    terminal: Array
    amount: Array
    distance: Array
    """From the customer's home to the terminal, in units of a map of 100 by 100."""
    is_fraud: Array
    """As it came to be known."""


def simulate(count: int, seed: int) -> Transactions:
    """Simulates transactions.

    Args:
        count: how many, at least 1,000.
        seed: the same seed gives the same transactions.
    """
    random = np.random.default_rng(seed)
    customers, terminals = max(20, count // 100), max(40, count // 50)
    homes = random.uniform(0, _MAP_SIZE, (customers, 2))
    places = random.uniform(0, _MAP_SIZE, (terminals, 2))
    seconds, customer = _draw_times_and_customers(random, count, customers)
    terminal = _choose_terminals(random, homes, places, customer)
    mean_amount = random.uniform(5, 100, customers)
    amount = np.abs(random.normal(mean_amount[customer], mean_amount[customer] / 2)) + 0.5
    dear = random.random(count) < 0.004
    amount[dear] *= random.uniform(2, 6, int(dear.sum()))
    is_fraud = np.zeros(count, dtype=bool)
    _high_amounts(random, amount, is_fraud)
    _compromised_terminals(random, seconds, terminal, terminals, is_fraud)
    _compromised_cards(random, seconds, customer, customers, terminal, terminals, amount, is_fraud)
    distance = np.hypot(*(homes[customer] - places[terminal]).T)
    wrong_label = random.random(count) < np.where(is_fraud, 0.03, 0.0003)
    return Transactions(seconds, customer, terminal, np.round(amount, 2), distance, is_fraud ^ wrong_label)


def _draw_times_and_customers(random: np.random.Generator, count: int, customers: int) -> tuple[Array, Array]:
    activity = random.uniform(0.2, 1, customers)
    customer = random.choice(customers, count, p=activity / activity.sum())
    usual_hour = random.normal(14, 3, customers)
    hour = random.normal(usual_hour[customer], 4) % 24
    seconds = random.integers(0, DAYS, count) * _DAY_SECONDS + hour * 3600
    order = np.argsort(seconds, kind="stable")
    return seconds[order], customer[order]


def _choose_terminals(random: np.random.Generator, homes: Array, places: Array, customer: Array) -> Array:
    nearest_count = min(_NEAREST_TERMINALS, len(places))
    distances = np.hypot(*(homes[:, None, :] - places[None, :, :]).transpose(2, 0, 1))
    nearest = np.argpartition(distances, nearest_count - 1, axis=1)[:, :nearest_count]
    near = nearest[customer, random.integers(0, nearest_count, len(customer))]
    travelling = random.random(len(customer)) < 0.05
    return np.where(travelling, random.integers(0, len(places), len(customer)), near)


def _high_amounts(random: np.random.Generator, amount: Array, is_fraud: Array) -> None:
    chosen = random.random(len(amount)) < 0.0012
    amount[chosen] = random.uniform(220, 900, int(chosen.sum()))
    is_fraud |= chosen


def _compromised_terminals(
    random: np.random.Generator, seconds: Array, terminal: Array, terminals: int, is_fraud: Array
) -> None:
    for _ in range(max(1, terminals * 3 // 50)):
        start = random.uniform(-14, DAYS) * _DAY_SECONDS
        there = (terminal == random.integers(terminals)) & (seconds >= start) & (seconds < start + 28 * _DAY_SECONDS)
        is_fraud |= there & (random.random(len(seconds)) < 0.35)


def _compromised_cards(
    random: np.random.Generator,
    seconds: Array,
    customer: Array,
    customers: int,
    terminal: Array,
    terminals: int,
    amount: Array,
    is_fraud: Array,
) -> None:
    for _ in range(max(1, customers * 12 // 100)):
        start = random.uniform(-7, DAYS) * _DAY_SECONDS
        theirs = (customer == random.integers(customers)) & (seconds >= start) & (seconds < start + 14 * _DAY_SECONDS)
        taken = theirs & (random.random(len(seconds)) < 0.35)
        amount[taken] *= random.uniform(2, 5, int(taken.sum()))
        elsewhere = taken & (random.random(len(seconds)) < 0.7)
        terminal[elsewhere] = random.integers(0, terminals, int(elsewhere.sum()))
        is_fraud |= taken


def compute_features(transactions: Transactions) -> tuple[list[str], Array]:
    """What is known of each transaction when it is made.

    Returns:
        The names of the features, and their values, shape (n, number of features), 32-bit floats.
    """
    amount, seconds = transactions.amount, transactions.seconds
    hour = seconds % _DAY_SECONDS / 3600
    day = seconds // _DAY_SECONDS
    night = (hour < 6).astype(float)
    columns: dict[str, Array] = {
        "amount": amount,
        "amount_log": np.log1p(amount),
        "hour_sine": np.sin(hour / 24 * 2 * np.pi),
        "hour_cosine": np.cos(hour / 24 * 2 * np.pi),
        "is_night": night,
        "day_of_week": day % 7,
        "is_weekend": (day % 7 >= 5).astype(float),
        "distance_from_home": transactions.distance,
    }
    columns |= _customer_columns(transactions, night)
    columns |= _terminal_columns(transactions)
    values = np.column_stack(list(columns.values())).astype(np.float32)
    return list(columns), values


def _customer_columns(transactions: Transactions, night: Array) -> dict[str, Array]:
    amount, distance = transactions.amount, transactions.distance
    cents = _cents(amount)
    past = _Past(transactions.customer, transactions.seconds)
    columns: dict[str, Array] = {}
    for days in _WINDOWS_DAYS:
        count, total = past.sums(days, 0, np.ones_like(amount), cents)
        columns[f"customer_count_{days}d"] = count
        columns[f"customer_amount_mean_{days}d"] = _share(total, count) / 100
    count, total, squares = past.sums(30, 0, np.ones_like(amount), cents, cents**2)
    mean = _share(total, count) / 100
    deviation = np.sqrt(np.maximum(_share(squares, count) / 10_000 - mean**2, 0))
    (nights, distances) = past.sums(30, 0, night, distance)
    mean_distance = _share(distances, count)
    columns |= {
        "customer_amount_deviation_30d": deviation,
        "amount_to_customer_mean": amount / (mean + 1),
        "amount_z_score": (amount - mean) / (deviation + 1),
        "customer_night_share_30d": _share(nights, count),
        "customer_distance_mean_30d": mean_distance,
        "distance_to_customer_mean": distance / (mean_distance + 1),
        "hours_since_last": past.seconds_since_last(30 * _DAY_SECONDS) / 3600,
    }
    return columns


def _terminal_columns(transactions: Transactions) -> dict[str, Array]:
    amount, fraud = transactions.amount, transactions.is_fraud.astype(float)
    past = _Past(transactions.terminal, transactions.seconds)
    columns: dict[str, Array] = {}
    for days in _WINDOWS_DAYS:
        count, frauds = past.sums(days, LABEL_DELAY_DAYS, np.ones_like(amount), fraud)
        columns[f"terminal_count_{days}d"] = count
        columns[f"terminal_risk_{days}d"] = _share(frauds, count)
    count, total = past.sums(30, 0, np.ones_like(amount), _cents(amount))
    mean = _share(total, count) / 100
    columns["terminal_amount_mean_30d"] = mean
    columns["amount_to_terminal_mean"] = amount / (mean + 1)
    return columns


class _Past:
    """Sums over the earlier transactions of the same customer or terminal, without a loop over transactions.

    Args:
        group: customer or terminal of each transaction.
        seconds: ascending.
    """

    def __init__(self, group: Array, seconds: Array) -> None:
        self._order = np.lexsort((seconds, group))
        # Groups lie so far apart on one axis that no window reaches into another group.
        self._offset = group[self._order] * (4.0 * DAYS * _DAY_SECONDS)
        self._moment = seconds[self._order]
        self._axis = self._offset + self._moment

    def sums(self, window_days: float, delay_days: float, *values: Array) -> tuple[Array, ...]:
        """Sums of values over the window that ends a delay before each transaction."""
        end = self._axis - delay_days * _DAY_SECONDS
        first = np.searchsorted(self._axis, end - window_days * _DAY_SECONDS, side="left")
        behind = np.searchsorted(self._axis, end, side="left")
        return tuple(self._window(value, first, behind) for value in values)

    def _window(self, value: Array, first: Array, behind: Array) -> Array:
        running = np.concatenate(([0.0], np.cumsum(value[self._order], dtype=float)))
        return self._in_time(np.maximum(running[behind] - running[first], 0))

    def seconds_since_last(self, at_most: float) -> Array:
        """Seconds since the one before; `at_most` where there is none or it is longer ago."""
        since = np.diff(self._axis, prepend=self._axis[0] - at_most)
        return self._in_time(np.minimum(since, at_most))

    def _in_time(self, sorted_values: Array) -> Array:
        values = np.empty_like(sorted_values)
        values[self._order] = sorted_values
        return values


def _cents(amount: Array) -> Array:
    """Whole cents: running sums of whole numbers are exact, whatever comes before them."""
    return np.rint(amount * 100)


def _share(part: Array, whole: Array) -> Array:
    return part / np.maximum(whole, 1)
