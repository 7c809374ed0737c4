// Package policy is what the cluster's own rules do to an object before it is
// stored, whoever makes it: a person through any door, or a control loop from a
// template. Priority and runtime classes, limit ranges, resource quotas, pod
// security and default storage classes are rows, and so everything here is a
// function of rows.
//
// # How to use it
//
// A door calls Complete on what a user sent, before webhooks see it, and Check
// after them; both read a snapshot. Charge runs inside the transaction that puts
// the row, so that no two writers can spend the same quota.
//
// What loops make of templates passes Fill once and Allow for every copy that is
// put (orchestrate/sow). A loop that does so declares that it writes quotas.
//
// It is not for what an object must be like whatever the cluster's rules are:
// that is object/defaults and object/validate.
//
// # Quotas
//
// status.used of a ResourceQuota is never less than what is used: Charge raises
// it in the transaction that creates; orchestrate/quota sets it to what the
// tables hold, which lowers it after a deletion. Both see the head state one
// after another, so neither overwrites what it has not seen.
package policy
