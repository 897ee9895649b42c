"""All ops by name: the scheduler, the size walk and the cost model look them up here."""

from collections.abc import Mapping

from runtime.ops.apply import APPLY
from runtime.ops.attempt import ATTEMPT
from runtime.ops.base import OpRun
from runtime.ops.call import CALL
from runtime.ops.choose import SELECT
from runtime.ops.concat import CONCAT
from runtime.ops.cond import COND
from runtime.ops.const import CONST
from runtime.ops.context import CONTEXT
from runtime.ops.count import COUNT
from runtime.ops.decode import DECODE
from runtime.ops.delete import DELETE
from runtime.ops.elements import ELEMENTS
from runtime.ops.embed import EMBED
from runtime.ops.encode import ENCODE
from runtime.ops.first import FIRST
from runtime.ops.flatten import FLATTEN
from runtime.ops.format import FORMAT
from runtime.ops.generate import GENERATE
from runtime.ops.get import GET
from runtime.ops.ingest import INGEST
from runtime.ops.input import INPUT
from runtime.ops.join import JOIN
from runtime.ops.loop import LOOP
from runtime.ops.map import MAP
from runtime.ops.order import ORDER
from runtime.ops.pack import PACK
from runtime.ops.parse import PARSE
from runtime.ops.prefill import PREFILL
from runtime.ops.rerank import RERANK
from runtime.ops.search import SEARCH
from runtime.ops.within import WITHIN

OP_RUNS: Mapping[str, OpRun] = {
    "input": INPUT,
    "const": CONST,
    "context": CONTEXT,
    "prefill": PREFILL,
    "decode": DECODE,
    "select": SELECT,
    "encode": ENCODE,
    "generate": GENERATE,
    "parse": PARSE,
    "elements": ELEMENTS,
    "embed": EMBED,
    "ingest": INGEST,
    "search": SEARCH,
    "count": COUNT,
    "delete": DELETE,
    "rerank": RERANK,
    "call": CALL,
    "map": MAP,
    "cond": COND,
    "loop": LOOP,
    "attempt": ATTEMPT,
    "first": FIRST,
    "within": WITHIN,
    "get": GET,
    "join": JOIN,
    "order": ORDER,
    "format": FORMAT,
    "flatten": FLATTEN,
    "concat": CONCAT,
    "pack": PACK,
    "apply": APPLY,
}
