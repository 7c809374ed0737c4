// Package probe asks containers how they are: by a command, an HTTP request, a
// TCP connection or a gRPC health check.
//
// Check asks once. Run asks again and again, as a container's probe says, and
// tells when the answer has held long enough to count. What follows from an
// answer is the caller's business.
//
// To debug: the agent records each failed probe as an event (reason Unhealthy).
package probe
