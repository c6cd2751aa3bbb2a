"""Hypothesis strategies for every PDU with every item, as far as it may be sent."""

from __future__ import annotations

from hypothesis import strategies as st

from pacslite.ul.items import (
    AsyncOperationsWindow,
    PresentationContext,
    PresentationContextAnswer,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentity,
    UserInformation,
)
from pacslite.ul.pdu import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    ae_title_field,
)

uids = st.text("0123456789.", min_size=1, max_size=64)
short = st.integers(0, 0xFFFF)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
titles = st.one_of(
    names.map(ae_title_field), st.binary(min_size=16, max_size=16).filter(lambda raw: raw.strip() != b"")
)
context_ids = st.integers(0, 127).map(lambda number: 2 * number + 1)
unknown_items = st.lists(
    st.builds(UnknownItem, st.sampled_from([0x11, 0x2F, 0x60, 0xFF]), st.binary(max_size=20)), max_size=2
).map(tuple)


def several(strategy: st.SearchStrategy[object], *, most: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


identities = st.builds(
    UserIdentity,
    kind=st.integers(0, 255),
    primary=st.binary(max_size=40),
    secondary=st.binary(max_size=40),
    positive_response_requested=st.booleans(),
)
user_informations = st.builds(
    UserInformation,
    max_length=st.one_of(st.just(0), st.integers(8, 0xFFFFFFFF)),
    implementation_class_uid=uids,
    implementation_version_name=st.one_of(st.just(""), names),
    async_window=st.none() | st.builds(AsyncOperationsWindow, short, short),
    roles=several(st.builds(RoleSelection, sop_class=uids, scu=st.booleans(), scp=st.booleans())),
    extended=several(st.builds(SOPClassExtendedNegotiation, uids, st.binary(max_size=10))),
    common_extended=several(
        st.builds(SOPClassCommonExtendedNegotiation, sop_class=uids, service_class=uids, related_general=several(uids))
    ),
    user_identity=st.none() | identities,
    user_identity_answer=st.none() | st.binary(max_size=30),
    unknown=unknown_items,
)
requests = st.builds(
    AssociateRQ,
    called_ae_title=titles,
    calling_ae_title=titles,
    contexts=st.lists(
        st.builds(PresentationContext, context_ids, uids, st.lists(uids, min_size=1, max_size=4).map(tuple)),
        max_size=128,
        unique_by=lambda context: context.context_id,
    ).map(tuple),
    user_information=user_informations,
    application_context=uids,
    protocol_version=short,
    reserved=st.binary(min_size=32, max_size=32),
    unknown=unknown_items,
)
acceptances = st.builds(
    AssociateAC,
    called_ae_title=titles,
    calling_ae_title=titles,
    contexts=st.lists(
        st.builds(PresentationContextAnswer, context_ids, st.integers(0, 255), uids),
        max_size=128,
        unique_by=lambda context: context.context_id,
    ).map(tuple),
    user_information=user_informations,
    application_context=uids,
    protocol_version=short,
    reserved=st.binary(min_size=32, max_size=32),
    unknown=unknown_items,
)
rejections = st.builds(
    lambda result, codes: AssociateRJ(result=result, source=codes[0], reason=codes[1]),
    st.sampled_from([1, 2]),
    st.sampled_from([(1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)]),
)
aborts = st.one_of(
    st.just(Abort(source=0, reason=0)),
    st.builds(lambda reason: Abort(source=2, reason=reason), st.sampled_from([0, 1, 2, 4, 5, 6])),
)
pdvs = st.builds(PresentationDataValue, context_ids, st.binary(max_size=60), st.booleans(), st.booleans())
p_datas = st.lists(pdvs, min_size=1, max_size=5).map(lambda items: PDataTF(tuple(items)))

pdus: st.SearchStrategy[PDU] = st.one_of(
    requests, acceptances, rejections, p_datas, st.just(ReleaseRQ()), st.just(ReleaseRP()), aborts
)
