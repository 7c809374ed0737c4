// Package fast answers plain reads in protobuf from the bytes that the store
// holds: what is stored is the answer, so that nothing is decoded, copied or
// encoded. Plain creates are decoded once and answered from what was stored.
//
// It is not a second API: a request passes the same authentication,
// authorisation, fairness and audit before it comes here, and everything that is
// not plain (another media type, a table, selectors, pages, an error) goes on to
// the library's handler. A test holds the two ways to the same answers.
//
// How to debug: ask for JSON, which takes the long way, and compare.
package fast
