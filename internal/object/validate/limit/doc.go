// Package limit checks the objects that bound what a namespace may take:
// ResourceQuota and LimitRange. It does not enforce them; package policy does.
package limit
