package helm

import (
	"errors"
	"strings"
)

// describe returns the text of an error. Lists of errors, which their own types spread over several lines with bullets,
// come out in one line.
func describe(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	list, whole := errorList(err)
	if len(list) == 0 {
		return text
	}
	parts := make([]string, 0, len(list))
	for _, part := range list {
		parts = append(parts, describe(part))
	}
	return strings.Replace(text, whole, strings.Join(parts, "; "), 1)
}

// errorList returns the errors of the first list in the chain of err, and the text of that list. Helm's dependencies and
// apimachinery have each their own type for it.
func errorList(err error) (list []error, text string) {
	type multiError interface {
		error
		WrappedErrors() []error
	}
	type aggregate interface {
		error
		Errors() []error
	}
	if multi := multiError(nil); errors.As(err, &multi) {
		return multi.WrappedErrors(), multi.Error()
	}
	if many := aggregate(nil); errors.As(err, &many) {
		return many.Errors(), many.Error()
	}
	return nil, ""
}
