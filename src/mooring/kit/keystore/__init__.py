"""
Opening keystores, truststores and certificates that strangers send: JKS, PKCS12 and PEM.

`sandbox` opens them in a child process with limits; everything else here runs in that child.
"""
