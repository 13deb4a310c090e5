package values

import (
	"fmt"
	"strconv"
	"strings"
)

// maxIndex bounds an index in a targetPath, as Helm does: a list of that length is made.
const maxIndex = 65536

// target is a value that goes to one path.
type target struct {
	where string
	path  string
	value string
}

// step is a key of a map, or an index of a list when key is empty and index counts.
type step struct {
	key     string
	index   int
	isIndex bool
}

// set puts the value at the path, making maps and lists on the way and replacing what is neither.
func (t target) set(values map[string]any) error {
	steps, err := parsePath(t.path)
	if err != nil {
		return &Error{Where: t.where, Message: fmt.Sprintf("targetPath: %v, as in helm --set: a.b[0].c", err)}
	}
	place(values, steps, typed(t.value))
	return nil
}

// place returns container with value at the path; container is replaced when it is of the wrong kind.
func place(container any, steps []step, value any) any {
	if len(steps) == 0 {
		return value
	}
	next := steps[0]
	if next.isIndex {
		list, _ := container.([]any)
		for len(list) <= next.index {
			list = append(list, nil)
		}
		list[next.index] = place(list[next.index], steps[1:], value)
		return list
	}
	table, ok := container.(map[string]any)
	if !ok {
		table = map[string]any{}
	}
	table[next.key] = place(table[next.key], steps[1:], value)
	return table
}

// parsePath reads a path in the syntax of helm --set: keys with dots between them, indexes in brackets, and a backslash
// before a character that stands for itself.
func parsePath(path string) ([]step, error) {
	var steps []step
	var key strings.Builder
	open := true // a key has begun, or must begin
	flush := func() error {
		if !open {
			return nil
		}
		if key.Len() == 0 {
			return fmt.Errorf("%q has an empty key", path)
		}
		steps = append(steps, step{key: key.String()})
		key.Reset()
		open = false
		return nil
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; c {
		case '\\':
			if i++; i == len(path) {
				return nil, fmt.Errorf("%q ends with a backslash", path)
			}
			if !open {
				return nil, fmt.Errorf("%q lacks a dot after a bracket", path)
			}
			key.WriteByte(path[i])
		case '.':
			if err := flush(); err != nil {
				return nil, err
			}
			open = true
		case '[':
			if err := flush(); err != nil {
				return nil, err
			}
			length := strings.IndexByte(path[i:], ']')
			if length < 0 {
				return nil, fmt.Errorf("%q lacks a closing bracket", path)
			}
			index, err := strconv.Atoi(path[i+1 : i+length])
			if err != nil || index < 0 || index > maxIndex {
				return nil, fmt.Errorf("%q has an index that is not a number from 0 to %d", path, maxIndex)
			}
			steps = append(steps, step{index: index, isIndex: true})
			i += length
		default:
			if !open {
				return nil, fmt.Errorf("%q lacks a dot after a bracket", path)
			}
			key.WriteByte(c)
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return steps, nil
}

// typed returns what helm --set makes of a text: true, false, null and integers are what they look like, unless they stand
// in quotes. All else is a string, commas and line ends included.
func typed(text string) any {
	if n := len(text); n >= 2 && text[0] == text[n-1] && (text[0] == '"' || text[0] == '\'') {
		return text[1 : n-1]
	}
	switch {
	case strings.EqualFold(text, "true"):
		return true
	case strings.EqualFold(text, "false"):
		return false
	case strings.EqualFold(text, "null"):
		return nil
	case text == "0":
		return int64(0)
	case strings.HasPrefix(text, "0"): // such as a telephone number
		return text
	}
	if number, err := strconv.ParseInt(text, 10, 64); err == nil {
		return number
	}
	return text
}
