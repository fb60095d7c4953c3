"""What a teacher made of each user's past, as a column of the log: vectors of candidates of earlier requests."""

from distill.data.past_vectors.chosen import ChosenRows, read_chosen
from distill.data.past_vectors.history import PastVectors
from distill.data.past_vectors.requests import RequestTimes
from distill.data.past_vectors.written import LogWriter

__all__ = ["ChosenRows", "LogWriter", "PastVectors", "RequestTimes", "read_chosen"]
