"""Named signature schemes: how senders prove that a delivery is theirs.

Every scheme works on the exact bytes and compares in constant time. Any number of secrets may be
active at once, so that one can be rotated without losing a delivery.
"""

from .adyen import AdyenSignature
from .any_of import AnyOf
from .bodies import GraphClientState, MailgunSignature
from .curves import DiscordSignature, SendGridSignature
from .hmacs import HeaderTimedHmac, HmacSignature, TimestampedHmac
from .hubspot import HubSpotSignature
from .paypal import PayPalSignature
from .plaid import PlaidJwt, fetch_plaid_key
from .protocol import FetchingScheme, SealingScheme, Secrets, SignatureScheme, load_secrets
from .sns import SnsSignature
from .standard import StandardWebhooks
from .tokens import BasicAuth, BearerToken, QueryToken, SharedToken
from .twilio import TwilioSignature
from .urls import MandrillSignature, UrlHmac

__all__ = [
    "AdyenSignature",
    "AnyOf",
    "BasicAuth",
    "BearerToken",
    "DiscordSignature",
    "FetchingScheme",
    "GraphClientState",
    "HeaderTimedHmac",
    "HmacSignature",
    "HubSpotSignature",
    "MailgunSignature",
    "MandrillSignature",
    "PayPalSignature",
    "PlaidJwt",
    "QueryToken",
    "SealingScheme",
    "Secrets",
    "SendGridSignature",
    "SharedToken",
    "SignatureScheme",
    "SnsSignature",
    "StandardWebhooks",
    "TimestampedHmac",
    "TwilioSignature",
    "UrlHmac",
    "fetch_plaid_key",
    "load_secrets",
]
