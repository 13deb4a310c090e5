package values

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Digest returns "sha256:" and 64 hexadecimal digits that stand for the values. It does not depend on the order of maps,
// and differs whenever the values do: between 1 and "1", between null, an empty map, an empty list and nothing. A whole
// number has one digest whatever Go type holds it, because YAML and JSON do not tell them apart.
func Digest(values map[string]any) string {
	h := sha256.New()
	digestMap(h, values)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Each value is written as a tag, then a length where it varies, then its content, so that no two values share a stream.
const (
	tagNull   = 'n'
	tagFalse  = 'f'
	tagTrue   = 't'
	tagNumber = 'd'
	tagString = 's'
	tagList   = 'l'
	tagMap    = 'm'
	tagOther  = 'o'
)

func digestValue(h hash.Hash, value any) {
	switch v := value.(type) {
	case nil:
		write(h, tagNull, nil)
	case bool:
		if v {
			write(h, tagTrue, nil)
		} else {
			write(h, tagFalse, nil)
		}
	case string:
		write(h, tagString, []byte(v))
	case map[string]any:
		digestMap(h, v)
	case []any:
		write(h, tagList, count(len(v)))
		for _, item := range v {
			digestValue(h, item)
		}
	default:
		if text, ok := number(value); ok {
			write(h, tagNumber, []byte(text))
			return
		}
		// Values come from YAML and have none but the types above; anything else is told apart by type and content.
		write(h, tagOther, fmt.Appendf(nil, "%T %v", value, value))
	}
}

func digestMap(h hash.Hash, values map[string]any) {
	write(h, tagMap, count(len(values)))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		write(h, tagString, []byte(key))
		digestValue(h, values[key])
	}
}

func write(h hash.Hash, tag byte, content []byte) {
	_, _ = h.Write([]byte{tag}) // a hash never fails
	_, _ = h.Write(count(len(content)))
	_, _ = h.Write(content)
}

func count(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// number returns the one text that stands for a number.
func number(value any) (string, bool) {
	switch v := value.(type) {
	case float64:
		return floatText(v), true
	case float32:
		return floatText(float64(v)), true
	case int:
		return strconv.Itoa(v), true
	case int32:
		return strconv.FormatInt(int64(v), 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case json.Number:
		if whole, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return strconv.FormatInt(whole, 10), true
		}
		if float, err := v.Float64(); err == nil {
			return floatText(float), true
		}
		return v.String(), true
	default:
		return "", false
	}
}

// floatText writes whole numbers that a float holds exactly as integers are written.
func floatText(v float64) string {
	const exact = 1 << 53
	if v == math.Trunc(v) && math.Abs(v) < exact {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
