"""Asking a language model: any server that speaks the OpenAI chat API, with a cache, a budget and patience.

    settings.py   what is asked where, at what price; where the key is found
    chat.py       `Chat.ask`: cache, retries, budget around one request
    wire.py       one HTTP attempt with the ``openai`` client, and what its outcome means
    ledger.py     money reserved and spent, across threads, processes and killed runs
    cache.py      answers on disk by content
    answers.py    the JSON or code in an answer, strictly
    prompts.py    prompt files and their placeholders

An answer is believed in nothing but its schema. Imports are light: ``openai`` is loaded at the first request.
"""
