"""Checks of arguments: accepted values, and errors for the others."""

import math

import numpy as np
import pytest

from fastseq import checks


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, np.int64(1), np.True_])
def test_only_an_int_is_an_integer(value):
    assert not checks.is_integer(value)
    with pytest.raises(TypeError, match="size: expected an integer, got"):
        checks.check_int("size", value, 0)


@pytest.mark.parametrize(("value", "message"), [(1, "at least 2, got 1"), (8, "at most 7, got 8")])
def test_an_integer_out_of_range(value, message):
    with pytest.raises(ValueError, match=f"size: expected {message}"):
        checks.check_int("size", value, 2, 7)
    checks.check_int("size", 2, 2, 7)
    checks.check_int("size", 7, 2, 7)


@pytest.mark.parametrize("check", [checks.check_real, checks.check_positive])
@pytest.mark.parametrize("value", [True, "1", None, 1j])
def test_not_a_number(check, value):
    with pytest.raises(TypeError, match="rate: expected a number, got"):
        check("rate", value)


@pytest.mark.parametrize("check", [checks.check_real, checks.check_positive])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite(check, value):
    with pytest.raises(ValueError, match="rate: expected a finite number, got"):
        check("rate", value)


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match=r"finite number of at least 0.0 and at most 1.0, got 2"):
        checks.check_real("rate", 2, 0.0, 1.0)
    with pytest.raises(ValueError, match="rate: expected more than 0, got 0"):
        checks.check_positive("rate", 0)
    with pytest.raises(ValueError, match=r"rate: .* at most 1.0, got 1.5"):
        checks.check_positive("rate", 1.5, 1.0)
    checks.check_positive("rate", 1, 1.0)


def test_choices_types_and_mappings():
    with pytest.raises(ValueError, match="cell: expected one of a, b, got 'c'"):
        checks.check_choice("cell", "c", ("a", "b"))
    with pytest.raises(TypeError, match="tie: expected a bool, got 1"):
        checks.check_type("tie", 1, bool)
    with pytest.raises(TypeError, match="state: expected a mapping, got list"):
        checks.check_mapping("state", [])
    with pytest.raises(ValueError, match="state: expected a, b, got no b"):
        checks.check_mapping("state", {"a": 1}, "a", "b")


def test_more_than_all_memory():
    checks.check_memory("size", checks.physical_memory())
    with pytest.raises(ValueError, match=r"size, count: expected at most .* MB, all memory, got"):
        checks.check_memory("size, count", checks.physical_memory() + 1)
