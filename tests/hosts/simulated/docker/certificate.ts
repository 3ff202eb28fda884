/**
 * The certificate of the simulated containers' TLS servers: for `localhost`, self-signed, made with openssl, valid
 * until 2120.
 *
 * Its key is here for everybody to read, and that is all right: it protects nothing. It only lets a simulated server
 * speak TLS as the real one does, whose certificate is self-signed as well, and nobody has a reason to trust it.
 *
 * @module
 */

/** In PEM; a test that wants to verify the connection trusts this. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBoDCCAUagAwIBAgIBATAKBggqhkjOPQQDAjAyMRIwEAYDVQQDDAlsb2NhbGhv
c3QxHDAaBgNVBAoME1NpbXVsYXRlZCBjb250YWluZXIwIBcNMjAwMTAxMDAwMDAw
WhgPMjEyMDAxMDEwMDAwMDBaMDIxEjAQBgNVBAMMCWxvY2FsaG9zdDEcMBoGA1UE
CgwTU2ltdWxhdGVkIGNvbnRhaW5lcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BO7o8/pHii95hMZI5991xfUuC3fpRETrpFNI54NxlfyNwbgDU9fI8F+VsUNjAZgU
6JaxpTwh1Z7lNsN4VAG/oeCjSzBJMAwGA1UdEwEB/wQCMAAwGgYDVR0RBBMwEYIJ
bG9jYWxob3N0hwR/AAABMB0GA1UdDgQWBBRP4+caPqzB+It4xdcrt5X3opiwOTAK
BggqhkjOPQQDAgNIADBFAiBBZMMtM20lCQ0uT/M3mukul5ZD84ElzXzWL3lcvaxT
MwIhALMwCrOxQiD6gkOf9AuZ6KhTJq+/zI1vVOjG/yIp77aK
-----END CERTIFICATE-----
`;

/** Its key, in PEM. */
export const privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+yJ+WvpFtQE/+BYG
1fahzJGTYk4NZIRyREKBHhoPv1ChRANCAATu6PP6R4oveYTGSOffdcX1Lgt36URE
66RTSOeDcZX8jcG4A1PXyPBflbFDYwGYFOiWsaU8IdWe5TbDeFQBv6Hg
-----END PRIVATE KEY-----
`;
