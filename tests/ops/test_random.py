import torch

from distill.ops.random import hashed_bits, hashed_number, hashed_uniform


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


def test_bits_of_a_table_are_uniform_and_those_of_no_other_value():
    rows = torch.arange(20_000)
    bits = hashed_bits(torch.tensor(7), rows, 6)
    assert bits.dtype is torch.int32
    assert 0 <= int(bits.min()) < int(bits.max()) < 2**16
    counts = torch.histc(bits.float(), 16, 0, 2**16) / (bits.numel() / 16)
    assert (counts - 1).abs().max() < 0.05
    each = bits.double().T
    neighbours = torch.cat([each, each.roll(1, 1), hashed_bits(torch.tensor(8), rows, 6).double().T])
    assert (torch.corrcoef(neighbours) - torch.eye(18)).abs().max() < 0.03


def test_bits_depend_on_key_row_and_column_alone():
    rows = torch.tensor([5, 0, 123_456_789_012, 5])
    bits = hashed_bits(torch.tensor(7), rows, 5)
    assert torch.equal(bits[0], bits[3])
    assert torch.equal(bits[[2]], hashed_bits(torch.tensor(7), rows[[2]], 5))
    assert torch.equal(bits[:, :3], hashed_bits(torch.tensor(7), rows, 3))
    assert not torch.equal(bits, hashed_bits(torch.tensor(8), rows, 5))
    assert hashed_bits(torch.tensor(7), rows[:0], 5).shape == (0, 5)


def test_numbers_depend_on_all_of_their_salts():
    found = {hashed_number(*salts) for salts in ((), (0,), (0, 0), (1, 0), (0, 1), (2**63, 1))}
    assert len(found) == 6
    assert all(-(2**63) <= number < 2**63 for number in found)


def test_numbers_and_scalars_of_a_device_draw_the_same():
    keys = torch.tensor([0, 1, -7, 2**62])
    for salts in ((3, 2**40, 5), (-1, 0, 7)):
        wanted = hashed_uniform(keys, *salts).tolist()
        for on_device in ((1,), (0, 2), (0, 1, 2)):
            mixed = [torch.tensor(salt) if place in on_device else salt for place, salt in enumerate(salts)]
            assert hashed_uniform(keys, *mixed).tolist() == wanted
