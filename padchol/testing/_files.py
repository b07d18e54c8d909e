def unit(rng, number):
    yield None
