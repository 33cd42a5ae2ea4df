"""What an API can say whole comes back as it was; and what is written is a request by the types of the other side's SDK."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings

from everytoken.errors import InvalidRequestError
from neutral_requests import APIS, MESSAGES, READ, WRITE, requests, said, translated
from request_types import check
from sampling import SOAK

FEW = settings(max_examples=100 if SOAK else 15)  # each is a whole request
PAIRS = list(itertools.permutations(APIS, 2))


@pytest.mark.parametrize("api", APIS)
def test_a_request_is_read_as_it_was_written(api):
    @FEW
    @given(requests(api))
    def law(request):
        body = WRITE[api](request)
        check(api, body)
        assert said(READ[api](body)) == said(request)

    law()


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_there_and_back_is_the_same(caller, upstream):
    @FEW
    @given(requests(caller, upstream))
    def law(request):
        body = WRITE[caller](request)
        there = translated(body, caller, upstream)
        check(upstream, there)
        back = translated(there, upstream, caller)
        assert said(READ[caller](back)) == said(READ[caller](body)) == said(request)

    law()


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_whatever_a_caller_says_is_written_well_or_refused_by_the_name_of_a_field(caller, upstream):
    @FEW
    @given(requests(caller))
    def law(request):
        body = WRITE[caller](request)
        there, refused = None, ""
        try:
            there = translated(body, caller, upstream)
        except InvalidRequestError as error:
            refused = error.param or ""
        if there is None:
            assert refused.partition("[")[0].partition(".")[0] in body
            return
        check(upstream, there)
        if upstream == MESSAGES:
            roles = [message["role"] for message in there["messages"]]
            assert all(first != second for first, second in itertools.pairwise(roles))

    law()
