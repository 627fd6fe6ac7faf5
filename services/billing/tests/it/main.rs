//! The service against a real PostgreSQL and the sandbox's WeChat Pay.
