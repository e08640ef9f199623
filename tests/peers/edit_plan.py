#!/usr/bin/env python3
"""A plan file like another one but for depth, batch, length, precision, seeds or rate; canonical bytes on stdout.

    edit_plan.py PLAN [layers=2] [batch=8] [steps=200] [numerics=f32] [init_seed=0] [data_seed=0] [tied=1] [lr=0.1]
                      [peak_lr.GROUP=6e-3] [beta2=0.95] [epsilon=1e-8]
lr is a factor on every learning rate, peak_lr.GROUP that of one group; other hyper-parameters stay: the result is a test, not a recipe's plan.
"""
import json, sys


def canonical(x):
    """RFC 8785: sorted keys, no spaces, numbers as ECMAScript prints them."""
    if isinstance(x, dict):
        return "{" + ",".join(json.dumps(k, ensure_ascii=False) + ":" + canonical(x[k]) for k in sorted(x)) + "}"
    if isinstance(x, list):
        return "[" + ",".join(map(canonical, x)) + "]"
    if not isinstance(x, float):
        return json.dumps(x, ensure_ascii=False)
    if x == int(x) and abs(x) < 1e21:
        return str(int(x))
    mantissa, _, exponent = repr(x).partition("e")  # the shortest digits, in Python's notation
    if not exponent:
        return mantissa
    if -7 < int(exponent) < 0:
        digits = mantissa.replace(".", "").lstrip("-")
        return ("-" if x < 0 else "") + "0." + "0" * (-int(exponent) - 1) + digits
    return f"{mantissa}e{int(exponent):+d}"


def count(c):
    """Parameters with and without embedding and head."""
    hidden, dim = c["hidden_size"], c["head_dim"]
    heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    layer = 2 * hidden * dim * (heads + kv_heads) + 3 * hidden * c["intermediate_size"] + 2 * hidden
    layer += 2 * dim if c["qk_norm"] else 0
    body = c["num_hidden_layers"] * layer + hidden
    return body + (1 if c["tie_word_embeddings"] else 2) * c["vocab_size"] * hidden, body


def main():
    text = open(sys.argv[1]).read()
    plan = json.loads(text)
    assert canonical(plan) == text, "this reader would not write the plan as it was"
    c = plan["model"]["config"]
    assert count(c)[0] == plan["params"], (count(c), plan["params"])
    old_params, old_tokens = plan["params"], plan["tokens"]
    for key, value in (word.split("=") for word in sys.argv[2:]):
        if key == "layers":
            c["num_hidden_layers"] = int(value)
        elif key == "tied":
            c["tie_word_embeddings"] = value == "1"
        elif key == "lr":
            for group in plan["optimizer"]:
                group["peak_lr"] *= float(value)
        elif key in ("beta2", "epsilon") or key.startswith("peak_lr."):
            name, _, wanted = key.partition(".")
            for group in plan["optimizer"]:
                if wanted in ("", group["name"]):
                    group[name] = float(value)
        elif key in ("batch", "steps", "init_seed", "data_seed"):
            plan[key] = int(value)
        elif key == "numerics":
            plan[key] = value
        else:
            sys.exit(f"edit_plan.py cannot change '{key}'")
    if c["tie_word_embeddings"]:  # no head of its own
        for group in plan["optimizer"]:
            group["roles"] = [role for role in group["roles"] if role != "head"]
    steps = plan["steps"]
    plan["phases"][0]["steps"] = steps
    warmup, decay = steps // 10, steps // 5
    plan["schedule"].update(warmup_steps=warmup, stable_steps=steps - warmup - decay, decay_steps=decay)
    plan["tokens"] = steps * plan["batch"] * plan["seq_len"]
    plan["params"], plan["params_no_embedding"] = count(c)
    plan["params_no_qk_norm"] = plan["params"] - (2 * c["head_dim"] * c["num_hidden_layers"] if c["qk_norm"] else 0)
    for key in ("recipe_flops", "model_flops"):  # in proportion; nothing here reads them
        plan[key] = float(round(plan[key] * plan["tokens"] / old_tokens * plan["params"] / old_params))
    sys.stdout.write(canonical(plan))


if __name__ == "__main__":
    main()
