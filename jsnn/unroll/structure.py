"""Structure of a neuron's step, read from its jaxpr; and a step reduced to bare operations."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from jsnn.neurons.protocol import Neuron

# How a value depends on the state.
_NOT, _AFFINE, _OTHER = range(3)

_CALLS = frozenset({"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"})
_LINEAR = frozenset({"neg", "add", "sub", "add_any", "copy", "convert_element_type"})
_ELEMENTWISE = _LINEAR | frozenset(
    "mul div rem pow integer_pow exp exp2 log log1p expm1 sqrt rsqrt cbrt square sin cos tan tanh "
    "sinh cosh asin acos atan atan2 asinh acosh atanh logistic erf erfc erf_inv abs sign floor "
    "ceil round max min clamp select_n eq ne lt le gt ge and or not xor is_finite stop_gradient "
    "broadcast_in_dim".split()
)


@functools.cache
def is_elementwise(neuron: Neuron) -> bool:
    """Whether each neuron's step reads only its own state and current.

    Sound but not complete: an operation that is not known to be elementwise counts as mixing.

    >>> from jsnn.neurons import BRF
    >>> is_elementwise(BRF())
    True
    """
    return _only_elementwise(_jaxpr(neuron)[0])


@functools.cache
def is_affine(neuron: Neuron) -> bool:
    """Whether the next state is `M state + f(current)` with a constant M for each neuron.

    True for integrators and resonators whose spikes change nothing. Sound but not complete, as
    `is_elementwise`.

    >>> from jsnn.neurons import LIF, RF
    >>> is_affine(RF()), is_affine(LIF()), is_affine(LIF(reset="none"))
    (True, False, True)
    """
    jaxpr, n_params, n_state = _jaxpr(neuron)
    degrees = [_NOT] * n_params + [_AFFINE] * n_state + [_NOT]
    return all(level <= _AFFINE for level in _levels(jaxpr, degrees)[:n_state])


def bare(function: Callable) -> Callable:
    """The same function with every call inlined and without custom differentiation rules.

    Kernel languages know operations and no `custom_vjp`.

    >>> from jsnn.surrogate import ATan
    >>> print(jax.make_jaxpr(bare(ATan()))(1.0).pretty_print().count("custom_vjp"))
    0
    """

    def run(*args):
        leaves, _ = jax.tree.flatten(args)
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        results = _evaluate(closed.jaxpr, closed.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return run


def _evaluate(jaxpr, consts, args) -> list:
    value = dict(zip(jaxpr.constvars, consts, strict=True))
    value.update(zip(jaxpr.invars, args, strict=True))

    def of(atom):
        return atom.val if isinstance(atom, Literal) else value[atom]

    for equation in jaxpr.eqns:
        inputs = [of(atom) for atom in equation.invars]
        if equation.primitive.name in _CALLS:
            inner = _inner(equation)
            results = _evaluate(inner.jaxpr, inner.consts, inputs)
        else:
            results = equation.primitive.bind(*inputs, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
        value.update(zip(equation.outvars, results, strict=True))
    return [of(atom) for atom in jaxpr.outvars]


def _jaxpr(neuron: Neuron):
    """The step on one sample of two neurons, its number of parameters and of state leaves."""

    def example():
        params = neuron.init_params(jax.random.key(0), (2,))
        return params, neuron.init_state(params, (1, 2)), jnp.zeros((1, 2))

    params, state, current = jax.eval_shape(example)
    jaxpr = jax.make_jaxpr(neuron.step)(params, state, current).jaxpr
    return jaxpr, len(jax.tree.leaves(params)), len(jax.tree.leaves(state))


def _inner(equation):
    """The closed jaxpr that a call runs."""
    return equation.params.get("call_jaxpr", equation.params.get("jaxpr"))


def _only_elementwise(jaxpr) -> bool:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in _CALLS:
            if not _only_elementwise(_inner(equation).jaxpr):
                return False
        elif name not in _ELEMENTWISE:
            return False
    return True


def _levels(jaxpr, degrees: list[int]) -> list[int]:
    """Dependence of each output on the state, given that of each input."""
    level = dict(zip(jaxpr.invars, degrees, strict=True))

    def of(atom) -> int:
        return _NOT if isinstance(atom, Literal) else level.get(atom, _NOT)

    for equation in jaxpr.eqns:
        name, inputs = equation.primitive.name, [of(atom) for atom in equation.invars]
        floating = all(jnp.issubdtype(out.aval.dtype, jnp.floating) for out in equation.outvars)
        worst = max(inputs, default=_NOT)
        if name in _CALLS - {"custom_vjp_call", "custom_jvp_call"}:
            outputs = _levels(_inner(equation).jaxpr, inputs)
        elif worst != _AFFINE:
            outputs = [worst] * len(equation.outvars)
        else:
            match name:
                case "mul":
                    kept = inputs.count(_AFFINE) == 1
                case "div":
                    kept = inputs[1] == _NOT
                case "select_n":
                    kept = inputs[0] == _NOT
                case _:
                    kept = name in _LINEAR and floating
            outputs = [_AFFINE if kept else _OTHER] * len(equation.outvars)
        level.update(zip(equation.outvars, outputs, strict=True))
    return [of(atom) for atom in jaxpr.outvars]
