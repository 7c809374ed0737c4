package kube

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// applyFaults begin what the library says of a patch that does not fit the
// schema. It gives these errors no type, and so no status of their own.
var applyFaults = []string{
	"failed to create typed patch object", "failed to convert new typed object", "failed to convert new object", "failed to convert to unversioned",
}

// applyError makes a server-side apply that the schema refuses the caller's
// fault; kube-apiserver answers 500.
func applyError(err error) error {
	var st apierrors.APIStatus
	if err == nil || errors.As(err, &st) {
		return err
	}
	for _, f := range applyFaults {
		if strings.HasPrefix(err.Error(), f) {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	return err
}
