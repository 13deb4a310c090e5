package v1alpha1

import (
	"fmt"
	"time"
)

// Duration is a Go duration string such as "90s", "1h30m" or "0.5h".
//
// It is a string and not a metav1.Duration, because a value that the pattern admits but time.ParseDuration refuses (an
// overflow) must fail the one object that carries it, not the decoding of every list that contains it.
//
// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
type Duration string

// Or returns the duration, fallback when it is empty, and at least least: a zero or absurdly small value means the
// smallest sensible one. It fails when the string is not a duration or overflows.
func (d Duration) Or(fallback, least time.Duration) (time.Duration, error) {
	if d == "" {
		return max(fallback, least), nil
	}
	parsed, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 30s, 10m or 1h30m", string(d))
	}
	return max(parsed, least), nil
}
