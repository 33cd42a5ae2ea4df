"""What is wrong with a configuration: all of it at once, with places and suggestions."""

from everytoken.gateway.checking.problem import Problem
from everytoken.gateway.checking.reading import MistakesError, Report, check, explained

__all__ = ["MistakesError", "Problem", "Report", "check", "explained"]
