import torch

from distill.ops.random import hashed_uniform


def test_known_values_of_splitmix64():
    """The mixer of SplitMix64 on the sequence of its own increments, from the reference implementation's seed 0."""
    mask = (1 << 64) - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    keys = [0, 1, 5, -7, 2**62, -(2**63)]
    salt = mix((mix((3 + 0x9E3779B97F4A7C15) & mask) + 9 + 0x9E3779B97F4A7C15) & mask)
    expected = [(mix((mix((k + salt) & mask) + 0x9E3779B97F4A7C15) & mask) >> 11) / 2**53 for k in keys]
    assert hashed_uniform(torch.tensor(keys), 3, 9).tolist() == expected


def test_uniform_and_independent_of_neighbours():
    draws = hashed_uniform(torch.arange(100_000), 1, 2)
    assert 0 <= draws.min() < draws.max() < 1
    histogram = torch.histc(draws, 20, 0, 1) / 5000
    assert (histogram - 1).abs().max() < 0.06  # four deviations
    correlation = torch.corrcoef(torch.stack([draws[:-1], draws[1:]]))[0, 1]
    assert correlation.abs() < 0.013
    assert hashed_uniform(torch.arange(100_000), 2, 1).ne(draws).all()
