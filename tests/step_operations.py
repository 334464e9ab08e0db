"""Operations of a neuron's step, read off its jaxpr: a second opinion on `Neuron.ops`.

The step is traced and walked equation by equation. Every value is a polynomial in what changes from
step to step (states, the current, spikes) with numbers as coefficients, so that whatever is made of
constants alone costs nothing, however the code writes it down. What is counted, and why:

* a new state, a sum used more than once and what is multiplied by a spike are worked out once; the
  rest is worked out where it is used;
* a term with a coefficient other than 1 is a multiply. Where a state is multiplied by `k0 + k1 q`
  with another state q, that sum is worked out once, however many products it enters;
* the coefficient of the current sits in the weights. Adding the current is an add where something
  was multiplied, else part of the accumulation (a multiply-accumulate, or none at all);
* n terms are n - 1 adds, all constants together being one term, worked out before deployment;
* a product with a spike is an add when there is a spike. `v - v s + k s` overwrites v: none;
* comparing n terms with each other is n - 2 adds and a compare;
* a state on which no result depends is not kept, and a remembered spike is no state word.
"""

from __future__ import annotations

import collections

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from jsnn.neurons import NeuronOps

# Products of the names of what changes, and their coefficients; () is the constant.
Terms = dict[tuple[str, ...], float]

ROUNDING = 1e-6
FORWARDED = ("broadcast_in_dim", "convert_element_type", "reshape", "squeeze", "stop_gradient")


def operations(neuron, scaled: tuple[int, ...] = ()) -> NeuronOps:
    """Operations of the step of a neuron, by the rules of the module.

    Args:
        neuron: any that `jsnn.neurons` has in floating point.
        scaled: positions of states that a machine keeps multiplied by a constant, so that another
            value takes them without a product; the documentation of the neuron says which.
    """
    step = _Step(neuron)
    kept = step.needed()
    free = {name for i in scaled for name in (step.states[i], *_only_name(step.after[i]))}
    counter = _Counter(free)
    for name, terms in step.named.items():
        if name in kept:
            own = [i for i, after in enumerate(step.after) if name in _only_name(after)]
            counter.sum(terms, own=[step.states[i] for i in own])
    for name, terms in step.compared.items():
        if name in kept:
            counter.compare(terms)
    words = [name for name in step.states if name in kept and not _fires(name)]
    return NeuronOps(
        len(words), counter.multiplies, counter.adds, counter.compares, counter.adds_per_spike
    )


class _Step:
    """A step as sums of products.

    Attributes:
        states: names of the states before the step.
        after: the same states after it.
        named: sums that are worked out once, by name.
        compared: what each spike of this step compares with zero, by its name.
        out: the result of the step.
    """

    def __init__(self, neuron) -> None:
        params = neuron.init_params(jax.random.key(0), (1,))
        state = neuron.init_state(params, (1, 1))
        closed = jax.make_jaxpr(neuron.step)(params, state, jnp.ones((1, 1)))
        self.jaxpr, words = closed.jaxpr, len(jax.tree.leaves(state))
        outvars = self.jaxpr.outvars
        # A state that is the spike of this step holds, before it, the spike of the step before.
        self.states = [
            f"spike before {i}" if neuron.spiking and outvars[i] is outvars[words] else f"state {i}"
            for i in range(words)
        ]
        numbers = [{(): float(np.ravel(leaf)[0])} for leaf in jax.tree.leaves(params)]
        inputs = [*numbers, *({(name,): 1.0} for name in (*self.states, "current"))]
        uses = collections.Counter(
            var for eqn in self.jaxpr.eqns for var in eqn.invars if not _is_literal(var)
        )
        self.shared = {var for var, times in uses.items() if times > 1}
        self.gated = set()
        # The first walk finds what spikes multiply, the second gives it a name.
        for _ in range(2):
            self.named: dict[str, Terms] = {}
            self.compared: dict[str, Terms] = {}
            results = self._walk(self.jaxpr, closed.consts, inputs)
        self.after, self.out = results[:words], results[words]

    def needed(self) -> set[str]:
        """Names on which the result depends, in this step or a later one."""
        result, waiting = set(), _names(self.out)
        while waiting:
            name = waiting.pop()
            if name in result:
                continue
            result.add(name)
            for known in (
                self.named,
                self.compared,
                dict(zip(self.states, self.after, strict=True)),
            ):
                waiting |= _names(known.get(name, {}))
        return result

    def _walk(self, jaxpr, consts, inputs: list[Terms]) -> list[Terms]:
        known = dict(zip(jaxpr.invars, inputs, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            known[var] = {(): float(np.ravel(const)[0])}

        def read(var) -> Terms:
            return {(): float(np.ravel(var.val)[0])} if _is_literal(var) else known[var]

        for eqn in jaxpr.eqns:
            operands = [read(var) for var in eqn.invars]
            if eqn.primitive.name == "mul":
                for var, other in zip(eqn.invars, reversed(operands), strict=True):
                    if any(_fires(name) for name in _names(other)) and not _is_literal(var):
                        self.gated.add(var)
            for var, terms in zip(eqn.outvars, self._apply(eqn, operands), strict=True):
                known[var] = self._once(var, terms)
        return [read(var) for var in jaxpr.outvars]

    def _apply(self, eqn, operands: list[Terms]) -> list[Terms]:
        name, first = eqn.primitive.name, operands[0]
        nested = eqn.params.get("call_jaxpr", eqn.params.get("jaxpr"))
        if nested is not None:
            return self._walk(nested.jaxpr, nested.consts, operands)
        if name in FORWARDED:
            return [first]
        if not any(map(_names, operands)):
            numbers = [jnp.float32(terms.get((), 0.0)) for terms in operands]
            if name == "select_n":
                numbers[0] = numbers[0] != 0
            return [{(): float(eqn.primitive.bind(*numbers, **eqn.params))}]
        if name in ("add", "sub"):
            return [_sum(*operands, sign=-1.0 if name == "sub" else 1.0)]
        if name == "neg":
            return [_product({(): -1.0}, first)]
        if name == "mul":
            return [_product(*operands)]
        if name == "div" and not _names(operands[1]):
            return [_product(first, {(): 1 / operands[1][()]})]
        if name in ("ge", "gt"):
            spike = f"spike {len(self.compared)}"
            self.compared[spike] = _sum(*operands, sign=-1.0)
            return [{(spike,): 1.0}]
        raise NotImplementedError(f"no rule for {name!r} in the step of a neuron")

    def _once(self, var, terms: Terms) -> Terms:
        """A name for what is worked out once, else the sum itself."""
        changing = [factors for factors in terms if factors]
        if not changing or terms == {changing[0]: 1.0}:
            return terms
        fires = any(map(_fires, _names(terms)))
        sum_of_several = var in self.shared and len(changing) > 1 and not fires
        if not (var in self.jaxpr.outvars or sum_of_several or (var in self.gated and not fires)):
            return terms
        name = f"sum {len(self.named)}"
        self.named[name] = terms
        return {(name,): 1.0}


class _Counter:
    """Operations of sums, each counted once."""

    def __init__(self, free: set[str]) -> None:
        self.free = free
        self.multiplies = self.adds = self.compares = self.adds_per_spike = 0
        self.factors: set[tuple] = set()

    def sum(self, terms: Terms, own: list[str] = ()) -> None:
        """Count a sum; in that of a state itself, `own`, no constant can be moved elsewhere."""
        free = self.free - set(own)
        spiking = {factors for factors in terms if any(map(_fires, factors))}
        self.adds_per_spike += 0 if _overwrites(terms) else len(spiking)
        rest = {factors: number for factors, number in terms.items() if factors not in spiking}
        current, constant = rest.pop(("current",), None), rest.pop((), None)
        linear = {factors[0]: number for factors, number in rest.items() if len(factors) == 1}
        multiplied = self._multiplied_by_states(rest, linear, free)
        products = multiplied | {name for name, number in linear.items() if not _is_one(number)}
        products -= free
        self.multiplies += len(products)
        addends = len(linear) + (current is not None) + (constant is not None)
        self.adds += max(addends - 1, 0)
        if current is not None and not products and linear:
            self.adds -= 1

    def _multiplied_by_states(self, terms: Terms, linear: dict[str, float], free: set) -> set[str]:
        """The states that are multiplied by `k0 + k1 q`; each such sum is counted once."""
        states = set()
        for factors, number in terms.items():
            if len(factors) > 2:
                raise NotImplementedError(f"a product of {factors} in the step of a neuron")
            if len(factors) == 2:
                (name,) = (f for f in factors if f in linear)
                (other,) = (f for f in factors if f != name)
                states.add(name)
                factor = other, round(linear[name], 5), round(number, 5)
                if factor not in self.factors:
                    self.factors.add(factor)
                    self.adds += 1
                    self.multiplies += other not in free
        return states

    def compare(self, terms: Terms) -> None:
        """Count a comparison with zero: the last subtraction is the comparison itself."""
        self.sum(terms)
        self.adds -= 1
        self.compares += 1


def _is_one(number: float) -> bool:
    """Whether a product with this number is a matter of the sign only."""
    return abs(abs(number) - 1) < ROUNDING


def _is_literal(var) -> bool:
    return isinstance(var, jax.extend.core.Literal)


def _fires(name: str) -> bool:
    return name.startswith("spike")


def _names(terms: Terms) -> set[str]:
    return {name for factors in terms for name in factors}


def _only_name(terms: Terms) -> tuple[str, ...]:
    """The name of a sum that is worked out once, if these terms are one."""
    (factors, *more) = terms
    return factors if not more and len(factors) == 1 else ()


def _overwrites(terms: Terms) -> bool:
    """Whether a spike replaces a value by a constant: `v - v s + k s`."""
    for factors, number in terms.items():
        spikes = [name for name in factors if _fires(name)]
        if len(factors) == 2 and len(spikes) == 1 and abs(number + 1) < ROUNDING:
            kept = tuple(name for name in factors if name not in spikes)
            rest = terms.keys() - {factors, kept, tuple(spikes)}
            return terms.get(kept) == 1 and not rest
    return False


def _sum(left: Terms, right: Terms, sign: float = 1.0) -> Terms:
    total = collections.defaultdict(float, left)
    for factors, number in right.items():
        total[factors] += sign * number
    largest = max(map(abs, (*left.values(), *right.values())), default=0.0)
    return {f: number for f, number in total.items() if abs(number) > ROUNDING * largest}


def _product(left: Terms, right: Terms) -> Terms:
    total: Terms = {}
    for ours, a in left.items():
        for theirs, b in right.items():
            total = _sum(total, {tuple(sorted((*ours, *theirs))): a * b})
    return total
