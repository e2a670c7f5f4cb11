"""Asking a language model: any server that speaks the OpenAI chat API, with a cache, a budget and patience.

    settings.py   what is asked where, at what price; where the key is found
    chat.py       `Chat.ask`: cache, retries, budget around one request
    form.py       how a request is put, and how else where a server refuses a parameter
    wire.py       one HTTP attempt with the ``openai`` client; limits.py: in time
    replies.py    what is taken of an answer's body
    outcomes.py   what an error means: another attempt may help, or none will
    ledger.py     money reserved and spent, across threads, processes and killed runs
    totals.py     what this process asked, for its bill
    cache.py      answers on disk by content
    answers.py    the JSON or code in an answer, strictly
    prompts.py    prompt files and their placeholders

An answer is believed in nothing but its schema. Imports are light: ``openai`` is loaded at the first request.
"""
