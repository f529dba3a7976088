"""
`make fuzz`: what strangers may send, made by the hundred thousand, against everything that reads it.

| Target | What is asked | By |
|---|---|---|
| `http` | the whole API, in this process | requests drawn from the route table, mutated; and scenarios of several requests |
| `described` | the same, from our own OpenAPI | schemathesis |
| `models` | the bodies of all connection types | hypothesis |
| `parsers` | everything that reads bytes or texts of strangers | atheris, guided by coverage |

Each round of a target has a number, which is its seed: the numbers done stand in `tests/fuzz-count.json`, and the next
run goes on behind them.
"""
