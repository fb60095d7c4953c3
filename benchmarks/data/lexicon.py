"""What a made-up shop sells: kinds of things and their properties, each with several names."""

from __future__ import annotations

KINDS = """
sofa couch settee divan, shoe sneaker trainer footwear, lamp light lantern luminaire, rug carpet mat runner,
coat jacket parka anorak, cup mug beaker tumbler, bag purse handbag satchel, phone mobile smartphone handset,
laptop notebook ultrabook computer, bicycle bike cycle velocipede, pillow cushion bolster headrest,
blanket throw quilt duvet, knife blade cutter cleaver, pan skillet saucepan wok, trousers pants slacks jeans,
ring band signet jewel, watch clock timepiece chronometer, television screen monitor display,
sweater pullover jumper cardigan, hat cap beanie headwear, toy doll plaything figurine, book novel volume paperback,
perfume fragrance cologne scent, drill driver screwdriver screwgun, wardrobe closet cupboard cabinet,
tent shelter marquee canopy, suitcase luggage trunk valise, stroller pram buggy pushchair,
earphone headphone headset earbud, guitar ukulele banjo lute
"""
PROPERTIES = """
red crimson scarlet, blue navy azure, green emerald olive, black ebony jet, white ivory snowy, small mini tiny,
large big huge, wooden oak timber, cheap budget affordable, luxury premium exclusive, soft plush fluffy,
waterproof rainproof watertight, vintage retro antique, kids children toddler, light lightweight featherweight,
steel metal iron
"""


def names(text: str) -> list[list[str]]:
    """Returns the names of each entry."""
    return [entry.split() for entry in text.split(",")]
