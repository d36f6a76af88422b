"""The tap loop of docs/machine.md, transcribed: pixel by pixel, on plain integers."""

from fractions import Fraction

from codesign.isa import Mode


def wrap(value, bits):
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def clamp(value, low, high):
    return max(low, min(high, value))


def rounded(value, shift):
    return (Fraction(value, 1 << shift) + Fraction(1, 2)).__floor__()


def rounded_twice(value, shift):
    """Half up to 24 bits, then to the nearest with ties away from zero."""
    value = Fraction(rounded(value, 24), 1 << (shift - 24))
    return int(abs(value) + Fraction(1, 2)) * (1 if value > 0 else -1)


def calc(arch, i, state):
    """{(region, word): channels} that a CALC with fields ``i`` writes.

    ``state`` holds act[region][word][m], taps[t] (fields), dense[word][m][n], slices[s][m],
    params[word][m] (bias, multiplier, shift, twice) and tables[number][entry], all
    plain integers.
    """
    written = {}
    for g in range(i["groups"]):
        for p in range(arch.pixels):
            at = g * arch.pixels + p
            y, x = i["y_start"] + at // i["grid_width"], at % i["grid_width"]
            if y >= i["out_height"] or x >= i["out_width"]:
                continue
            acc = accumulate(arch, i, state, at, y, x)
            for c in range(i["planes"]):
                sums = acc[c * arch.in_channels : (c + 1) * arch.in_channels]
                values = [post(arch, i, state, s, c, m, y, x) for m, s in enumerate(sums)]
                written[i["dst_region"], address(arch, i, "dst", y, x, c)] = values
    return written


def accumulate(arch, i, state, at, y, x):
    acc = None
    for t in range(i["taps"]):
        tap = state["taps"][i["tap_base"] + t]
        source = i["src_bank"] + i["src_row"] * arch.pixels
        source += tap["bank"] + tap["row"] * arch.pixels + at
        inside = 0 <= y + tap["dy"] < i["in_height"] - tap["short_y"]
        inside = inside and 0 <= x + tap["dx"] < i["in_width"] - tap["short_x"]
        a = [i["pad"]] * arch.in_channels
        if inside:
            assert 0 <= source < arch.act_region_words
            a = state["act"][i["src_region"]][source]
        if i["mode"] == Mode.DENSE:
            w = state["dense"][i["wgt_base"] + t]
            acc = acc or [0] * arch.out_channels
            for n in range(arch.out_channels):
                total = acc[n] + sum(a[m] * w[m][n] for m in range(arch.in_channels))
                acc[n] = wrap(total, arch.acc_bits)
        elif i["mode"] == Mode.DEPTHWISE:
            w = state["slices"][i["wgt_base"] * arch.out_channels + t]
            acc = acc or [0] * arch.in_channels
            acc = [wrap(s + v * k, arch.acc_bits) for s, v, k in zip(acc, a, w, strict=True)]
        else:
            acc = [max(s, v) for s, v in zip(acc or a, a, strict=True)]
    return acc


def address(arch, i, prefix, y, x, c):
    pitch = i[f"{prefix}_pitch_bank"] + i[f"{prefix}_pitch_row"] * arch.pixels
    rows = c * i[f"{prefix}_plane_rows"]
    if i[f"{prefix}_split"]:
        line, column = y // 2 - i["y_start"] // 2, x // 2 + x % 2 * arch.phase_skew
        rows += (2 * (y % 2) + x % 2) * i[f"{prefix}_phase_rows"]
    else:
        line, column = y - i["y_start"], x
    first = i[f"{prefix}_bank"] + (i[f"{prefix}_row"] + rows) * arch.pixels
    return first + line * pitch + column


def post(arch, i, state, acc, c, m, y, x):
    bias, multiplier, shift, twice = state["params"][i["param_base"] + c][m]
    rule = rounded_twice if twice else rounded
    q = i["zero_point"] + rule(wrap(acc + bias, 32) * multiplier, shift)
    if i["residual"]:
        q = clamp(q, -128, 127)
        r = state["act"][i["res_region"]][address(arch, i, "res", y, x, c)][m]
        total = i["acc_multiplier"] * (q - i["zero_point"])
        total += i["res_multiplier"] * (r - i["res_zero_point"])
        q = i["out_zero_point"] + rounded(total, i["add_shift"])
    q = clamp(q, i["low"], i["high"])
    return state["tables"][i["table_id"]][q + 128] if i["table"] else q
