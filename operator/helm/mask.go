package helm

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// masked stands where a value stood.
	masked = "***"
	// maskedLength is how long a value must be to be masked anywhere: shorter ones hit ordinary words.
	maskedLength = 6
	// maskedSecretLength is the same for values whose key says that they are secret.
	maskedSecretLength = 3
	// maxMessage bounds a message, in bytes: it goes into conditions of objects and into events.
	maxMessage = 2048
)

// secretKey matches keys whose values are secret however they look.
var secretKey = regexp.MustCompile(`(?i)passw|passphrase|secret|token|api-?_?key|private-?_?key|credential|auth`)

// mask takes values of a release out of texts. Errors of templates, of schemas and of the API server quote what they do
// not like, and they end up in statuses, events and logs that others may read.
type mask struct {
	// mu guards the maps.
	mu sync.Mutex
	// secrets are masked wherever they stand, even inside words.
	secrets map[string]struct{}
	// plain values are masked where they stand as words.
	plain map[string]struct{}
	// allowed are not masked: names of objects, which messages must tell.
	allowed map[string]struct{}
}

func newMask(allowed ...string) *mask {
	m := &mask{
		secrets: map[string]struct{}{},
		plain:   map[string]struct{}{},
		allowed: map[string]struct{}{},
	}
	for _, name := range allowed {
		m.allow(name)
	}
	return m
}

// allow says that a name may be shown, unless it is a secret.
func (m *mask) allow(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.allowed[name] = struct{}{}
}

// learn adds all values of a tree.
func (m *mask) learn(values map[string]any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.walk(values, false)
}

// learnSecret adds the data of an object that is a Secret.
func (m *mask) learnSecret(object runtime.Object) {
	secret, ok := object.(*unstructured.Unstructured)
	if !ok || secret.GetKind() != "Secret" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, field := range []string{"data", "stringData"} {
		data, _, _ := unstructured.NestedMap(secret.Object, field)
		for _, value := range data {
			text, ok := value.(string)
			if !ok {
				continue
			}
			m.add(text, true)
			if decoded, err := base64.StdEncoding.DecodeString(text); err == nil && field == "data" && utf8.Valid(decoded) {
				m.add(string(decoded), true)
			}
		}
	}
}

func (m *mask) walk(value any, secret bool) {
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			m.walk(child, secret || secretKey.MatchString(key))
		}
	case []any:
		for _, child := range v {
			m.walk(child, secret)
		}
	case string:
		m.add(v, secret)
	case nil, bool:
	default:
		if secret {
			m.add(fmt.Sprint(v), true)
		}
	}
}

// add adds one value: as it is, as Go and JSON quote it, in base64, and line by line.
func (m *mask) add(text string, secret bool) {
	set, shortest := m.plain, maskedLength
	if secret {
		set, shortest = m.secrets, maskedSecretLength
	}
	put := func(form string) {
		// Messages are compared when they are one line.
		if form = oneLine(form); len(form) >= shortest {
			set[form] = struct{}{}
		}
	}
	put(text)
	put(strings.Trim(strconv.Quote(text), `"`))
	if len(text) >= shortest {
		put(base64.StdEncoding.EncodeToString([]byte(text)))
	}
	if strings.Contains(text, "\n") {
		for line := range strings.Lines(text) {
			if len(oneLine(line)) >= maskedLength {
				put(line)
			}
		}
	}
}

// text returns a message with values masked, in one line, and of bounded length.
func (m *mask) text(message string) string {
	message = oneLine(message)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, secret := range longestFirst(m.secrets) {
		message = strings.ReplaceAll(message, secret, masked)
	}
	for _, value := range longestFirst(m.plain) {
		if _, ok := m.allowed[value]; !ok {
			message = replaceWords(message, value)
		}
	}
	return clip(message)
}

// oneLine returns a text with single spaces for all white space.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// longestFirst returns the values in an order in which none hides a part of a longer one.
func longestFirst(set map[string]struct{}) []string {
	values := make([]string, 0, len(set))
	for value := range set {
		values = append(values, value)
	}
	slices.SortFunc(values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return values
}

// replaceWords masks value where it is not a part of a longer word.
func replaceWords(message, value string) string {
	var out strings.Builder
	for {
		at := strings.Index(message, value)
		if at < 0 {
			out.WriteString(message)
			return out.String()
		}
		end := at + len(value)
		before, _ := utf8.DecodeLastRuneInString(message[:at])
		after, _ := utf8.DecodeRuneInString(message[end:])
		out.WriteString(message[:at])
		if at > 0 && wordRune(before) || end < len(message) && wordRune(after) {
			out.WriteString(value)
		} else {
			out.WriteString(masked)
		}
		message = message[end:]
	}
}

func wordRune(r rune) bool {
	return r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// clip bounds the length of a message without cutting a character in two.
func clip(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const ellipsis = "..."
	end := maxMessage - len(ellipsis)
	for end > 0 && !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + ellipsis
}
