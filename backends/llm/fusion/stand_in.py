"""Text that stands where other chunks will stand in a prompt.

A chunk that is encoded right behind the beginning of a prompt has KV of a beginning, and all chunks
of a prompt but one stand elsewhere. What it is encoded behind matters less than that there is some
of it: a few hundred tokens of running text, the same for all chunks, so that their KV is computed
once.
"""

from collections.abc import Callable
from collections.abc import Sequence as Items
from itertools import cycle, islice

from backends.base import Part

MOST_TOKENS = 512

_TEXT = """\
The harbour of Vellamo was dredged in 1871, when the sawmills on the northern shore began to send \
planks to the towns of the south. The first quay was built of granite and could take two vessels \
at a time. A lighthouse followed four years later, and a customs house, which is a museum today. \
After the fire of 1904 most of the warehouses were put up again in brick, and the narrow streets \
behind them were widened for carts. The population grew from about nine hundred to six thousand in \
one generation.

Copper beetles live in dry grassland and at the edges of pine woods. Adults are 8 to 11 mm \
long, with a dull green back and reddish legs. They feed on the pollen of thistles from May until \
the end of August. The larvae grow for two winters in the roots of old trees. The species was \
described by a Danish collector who had received three specimens from a schoolteacher, and it is \
rare in the west of its range, where many meadows have been drained.

"The Long Way to Morning" is the second album of the quartet. It was recorded in eleven days in a \
former chapel, with a producer who had worked with several folk singers before. The single reached \
number 14 and stayed on the chart for nine weeks. Critics praised the arrangements for strings; \
one of them wrote that the songs were too polite. The drummer left the band in the following \
spring and was replaced by his cousin.

A pump of this kind has two chambers and a valve between them. When the piston rises, pressure in \
the lower chamber falls and water flows in through the inlet. When it goes down, the valve opens, \
and the water is lifted into the upper chamber. The design needs no electricity and few tools, \
which is why it is used for wells in villages that have no power. Leather seals have to be changed \
about once a year.

Anna Lindqvist was a lawyer and a member of the city council. Born as the third of five children \
of a baker, she studied in two countries and opened an office of her own in 1932. She wrote a \
report on the housing of workers that led to the building act of 1938. During the war she was in \
charge of supplies for the hospitals. A square near the station has had her name since 1977, and \
her letters are kept in the library of the university.

"""


def stand_in(
    encode: Callable[[Items[Part]], list[int]], start_ids: Items[int], num_tokens: int
) -> Items[int]:
    """The last `num_tokens` of it, by a model's tokenizer, without what begins each of its prompts;
    from its end again where it begins. So a chunk always stands behind the end of a paragraph:
    behind half a sentence its KV is much worse."""
    ids = encode([_TEXT])[len(start_ids) :]
    return list(islice(cycle(reversed(ids)), num_tokens))[::-1]
