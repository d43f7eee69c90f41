"""Administering accounts, service identities and passwords over the wire."""

import grpc
import pytest
from flare.auth.v1 import account_pb2, account_service_pb2, auth_service_pb2

from tests.server.auth.conftest import AuthServer, Metadata, refusal

PASSWORD = "correct horse battery"


async def create(server: AuthServer, admin: Metadata, account_id: str = "ann", **fields: object) -> account_pb2.Account:
    request = account_service_pb2.CreateAccountRequest(
        account_id=account_id,
        account=account_pb2.Account(**fields),  # type: ignore[arg-type]
        password=PASSWORD,
    )
    return await server.accounts.CreateAccount(request, metadata=admin)


async def test_new_account_logs_in_as_an_ordinary_person(server: AuthServer) -> None:
    admin = await server.bearer()
    ann = await create(server, admin, display_name="Ann")
    assert (ann.name, ann.display_name, ann.disabled) == ("accounts/ann", "Ann", False)
    assert ann.etag
    pair = await server.login("ann", PASSWORD)
    assert list(pair.scopes) == list(ann.scopes)
    assert {"auth.admin", "auth.delegate"}.isdisjoint(ann.scopes)
    assert len(ann.scopes) == 8
    request = account_service_pb2.GetAccountRequest(name="accounts/ann")
    assert await server.accounts.GetAccount(request, metadata=admin) == ann


async def test_taken_name_says_so(server: AuthServer) -> None:
    admin = await server.bearer()
    await create(server, admin)
    refused = await refusal(create(server, admin))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN")
    assert "'accounts/ann'" in refused.text
    assert "take another account_id" in refused.text
    assert refused.resource == "accounts/ann"


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("short", "password: "),
        ("aaaaaaaaaaaaaaaa", "at least 5 different"),
        ("my-margaret-1", "contains the user name"),
    ],
)
async def test_weak_password_is_refused(server: AuthServer, password: str, text: str) -> None:
    request = account_service_pb2.CreateAccountRequest(account_id="margaret", password=password)
    refused = await refusal(server.accounts.CreateAccount(request, metadata=await server.bearer()))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == ("password",)
    assert text in refused.text


@pytest.mark.parametrize("account_id", ["", "Ann", "a b", "-ann", "x" * 64, "ann/../eve"])
async def test_user_name_of_another_form_is_refused(server: AuthServer, account_id: str) -> None:
    refused = await refusal(create(server, await server.bearer(), account_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == ("account_id",)


async def test_unknown_scope_is_named(server: AuthServer) -> None:
    refused = await refusal(create(server, await server.bearer(), scopes=["datasets.read", "data.read"]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == ("account.scopes[1]",)
    assert "there is no scope 'data.read'" in refused.text


async def test_accounts_come_in_pages(server: AuthServer) -> None:
    admin = await server.bearer()
    for name in ("eve", "ann", "bob"):
        await create(server, admin, name)
    names, token = list[str](), ""
    while True:
        request = account_service_pb2.ListAccountsRequest(page_size=2, page_token=token)
        page = await server.accounts.ListAccounts(request, metadata=admin)
        names += [account.name for account in page.accounts]
        if not (token := page.next_page_token):
            break
    assert names == ["accounts/admin", "accounts/ann", "accounts/bob", "accounts/eve"]


async def test_page_token_of_another_list_is_refused(server: AuthServer) -> None:
    admin = await server.bearer()
    await create(server, admin)
    page = await server.accounts.ListAccounts(account_service_pb2.ListAccountsRequest(page_size=1), metadata=admin)
    for token in (page.next_page_token, "garbage"):
        request = account_service_pb2.ListServiceIdentitiesRequest(page_token=token)
        refused = await refusal(server.accounts.ListServiceIdentities(request, metadata=admin))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_update_changes_what_the_mask_names(server: AuthServer) -> None:
    admin = await server.bearer()
    ann = await create(server, admin, display_name="Ann")
    request = account_service_pb2.UpdateAccountRequest(account=ann)
    request.account.display_name = "Anna"
    del request.account.scopes[:]
    request.update_mask.paths.append("display_name")
    changed = await server.accounts.UpdateAccount(request, metadata=admin)
    assert (changed.display_name, changed.scopes) == ("Anna", ann.scopes)
    assert changed.etag != ann.etag
    stale = await refusal(server.accounts.UpdateAccount(request, metadata=admin))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert "read it again" in stale.text


async def test_update_without_mask_changes_all_that_can(server: AuthServer) -> None:
    admin = await server.bearer()
    await create(server, admin, display_name="Ann")
    account = account_pb2.Account(name="accounts/ann", scopes=["models.read"], disabled=True)
    request = account_service_pb2.UpdateAccountRequest(account=account)
    changed = await server.accounts.UpdateAccount(request, metadata=admin)
    assert (changed.display_name, list(changed.scopes), changed.disabled) == ("", ["models.read"], True)


async def test_update_of_something_else_is_refused(server: AuthServer) -> None:
    admin = await server.bearer()
    request = account_service_pb2.UpdateAccountRequest(account=account_pb2.Account(name="accounts/ann"))
    missing = await refusal(server.accounts.UpdateAccount(request, metadata=admin))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    request.update_mask.paths.append("name")
    refused = await refusal(server.accounts.UpdateAccount(request, metadata=admin))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("update_mask",))
    assert "what can change is display_name, scopes, disabled" in refused.text
    unnamed = account_service_pb2.UpdateAccountRequest(account=account_pb2.Account(name="ann"))
    refused = await refusal(server.accounts.UpdateAccount(unnamed, metadata=admin))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("account.name",))


async def test_last_administrator_stays(server: AuthServer) -> None:
    request = account_service_pb2.DeleteAccountRequest(name="accounts/admin")
    refused = await refusal(server.accounts.DeleteAccount(request, metadata=await server.bearer()))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    assert "give it to another account first" in refused.text


async def test_deleted_account_is_gone_with_its_logins(server: AuthServer) -> None:
    admin = await server.bearer()
    await create(server, admin)
    pair = await server.login("ann", PASSWORD)
    request = account_service_pb2.DeleteAccountRequest(name="accounts/ann")
    await server.accounts.DeleteAccount(request, metadata=admin)
    assert (await refusal(server.accounts.DeleteAccount(request, metadata=admin))).code is grpc.StatusCode.NOT_FOUND
    renewal = auth_service_pb2.RefreshTokensRequest(refresh_token=pair.refresh_token)
    assert (await refusal(server.auth.RefreshTokens(renewal))).reason == "REFRESH_TOKEN_REJECTED"


async def test_password_change_needs_the_present_password(server: AuthServer) -> None:
    admin = await server.bearer()
    await create(server, admin)
    ann = await server.bearer("ann", PASSWORD)
    request = account_service_pb2.ChangePasswordRequest(
        current_password="wrong password", new_password="another good password"
    )
    refused = await refusal(server.accounts.ChangePassword(request, metadata=ann))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED")
    request.current_password = PASSWORD
    await server.accounts.ChangePassword(request, metadata=ann)
    await server.login("ann", "another good password")
    await refusal(server.login("ann", PASSWORD))


async def test_reset_password_ends_the_logins(server: AuthServer) -> None:
    admin = await server.bearer()
    await create(server, admin)
    pair = await server.login("ann", PASSWORD)
    request = account_service_pb2.ResetPasswordRequest(name="accounts/ann", new_password="another good password")
    await server.accounts.ResetPassword(request, metadata=admin)
    renewal = auth_service_pb2.RefreshTokensRequest(refresh_token=pair.refresh_token)
    assert (await refusal(server.auth.RefreshTokens(renewal))).reason == "REFRESH_TOKEN_REJECTED"
    await server.login("ann", "another good password")


async def test_service_identity_life(server: AuthServer) -> None:
    admin = await server.bearer()
    request = account_service_pb2.CreateServiceIdentityRequest(
        service_identity_id="reporter",
        service_identity=account_pb2.ServiceIdentity(display_name="Reports", scopes=["models.read", "auth.read"]),
    )
    made = await server.accounts.CreateServiceIdentity(request, metadata=admin)
    assert (made.name, made.display_name) == ("serviceIdentities/reporter", "Reports")
    taken = await refusal(server.accounts.CreateServiceIdentity(request, metadata=admin))
    assert (taken.code, taken.reason) == (grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN")

    issue = auth_service_pb2.IssueServiceTokenRequest(name=made.name, secret=made.secret)
    token = (await server.auth.IssueServiceToken(issue)).access_token
    own = (("authorization", f"Bearer {token}"),)
    change = account_service_pb2.ChangePasswordRequest(current_password="x", new_password="another good password")
    refused = await refusal(server.accounts.ChangePassword(change, metadata=own))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert "only accounts have one" in refused.text

    listing = account_service_pb2.ListServiceIdentitiesRequest()
    page = await server.accounts.ListServiceIdentities(listing, metadata=admin)
    names = [(identity.name, identity.secret) for identity in page.service_identities]
    assert names == [("serviceIdentities/ml", ""), ("serviceIdentities/reporter", "")]

    rotation = account_service_pb2.RotateServiceIdentitySecretRequest(name=made.name)
    rotated = await server.accounts.RotateServiceIdentitySecret(rotation, metadata=admin)
    assert (await refusal(server.auth.IssueServiceToken(issue))).reason == "CREDENTIALS_REJECTED"
    issue.secret = rotated.secret
    await server.auth.IssueServiceToken(issue)

    deletion = account_service_pb2.DeleteServiceIdentityRequest(name=made.name)
    await server.accounts.DeleteServiceIdentity(deletion, metadata=admin)
    assert (await refusal(server.auth.IssueServiceToken(issue))).reason == "CREDENTIALS_REJECTED"
    gone = await refusal(server.accounts.DeleteServiceIdentity(deletion, metadata=admin))
    assert (gone.code, gone.resource) == (grpc.StatusCode.NOT_FOUND, "serviceIdentities/reporter")
