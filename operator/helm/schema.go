package helm

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"helm.sh/helm/v3/pkg/chart"
)

// Schemas are checked here and not by Helm for two reasons. Helm's loader follows references to any file and any URL, and
// charts are not to be trusted with either in this process. And its errors are text that quotes the values.

const (
	// schemaURL is the base of the references in a schema.
	schemaURL = "file:///values.schema.json"
	// schemaProblemsKept is how many problems a message tells.
	schemaProblemsKept = 10
)

// errReference says that a schema refers to another document.
var errReference = errors.New("the schema refers to another document, which is not read: " +
	"put the definitions into the schema, or disable schema validation")

// closedLoader reads no document. Unknown URNs stand for a schema that allows anything, as they do in Helm.
type closedLoader struct{}

// Load implements jsonschema.URLLoader.
func (closedLoader) Load(url string) (any, error) {
	if strings.HasPrefix(url, "urn:") {
		return true, nil
	}
	return nil, errReference
}

// schemaProblems says what is wrong with the values of a chart and of its subcharts, without quoting any.
func schemaProblems(chrt *chart.Chart, values map[string]any) []string {
	var problems []string
	if chrt.Schema != nil {
		for _, problem := range validate(chrt.Schema, values) {
			problems = append(problems, chrt.Name()+": "+problem)
		}
	}
	for _, dependency := range chrt.Dependencies() {
		switch of := values[dependency.Name()].(type) {
		case nil:
		case map[string]any:
			problems = append(problems, schemaProblems(dependency, of)...)
		default:
			problems = append(problems, fmt.Sprintf("%s: must be a map", dependency.Name()))
		}
	}
	if more := len(problems) - schemaProblemsKept; more > 0 {
		problems = append(problems[:schemaProblemsKept], fmt.Sprintf("and %d more", more))
	}
	return problems
}

// validate says what is wrong with values by one schema.
func validate(schema []byte, values map[string]any) (problems []string) {
	// The library panics on some values that are not JSON.
	defer func() {
		if recover() != nil {
			problems = []string{"the schema cannot be checked"}
		}
	}()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return []string{"values.schema.json is not JSON"}
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(closedLoader{})
	if err := compiler.AddResource(schemaURL, document); err != nil {
		return []string{"values.schema.json cannot be read"}
	}
	compiled, err := compiler.Compile(schemaURL)
	// Its URL is left out of the message: it may hold credentials.
	if outside := (*jsonschema.LoadURLError)(nil); errors.As(err, &outside) {
		return []string{errReference.Error()}
	}
	if err != nil {
		return []string{"values.schema.json is not a schema: " + strings.TrimSpace(err.Error())}
	}
	err = compiled.Validate(values)
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		leaves(invalid, &problems)
		sort.Strings(problems)
		return problems
	default:
		return []string{"the values cannot be checked"}
	}
}

// leaves adds the problems at the ends of the tree that the validator builds; the inner ones only say that there are more.
func leaves(invalid *jsonschema.ValidationError, out *[]string) {
	for _, cause := range invalid.Causes {
		leaves(cause, out)
	}
	if len(invalid.Causes) > 0 {
		return
	}
	at := strings.Join(invalid.InstanceLocation, ".")
	if at == "" {
		at = "(top level)"
	}
	*out = append(*out, at+" "+violation(invalid.ErrorKind))
}

// violation says which rule a value breaks, without the value.
func violation(broken jsonschema.ErrorKind) string {
	switch k := broken.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be of type %s, not %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Required:
		return "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		return "must not have " + strings.Join(k.Properties, ", ")
	case *kind.Enum:
		return fmt.Sprintf("must be one of %v", k.Want)
	case *kind.Const:
		return fmt.Sprintf("must be %v", k.Want)
	case *kind.Pattern:
		return "must match the pattern " + k.Want
	case *kind.Format:
		return "must be a valid " + k.Want
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items", k.Want)
	default:
		if path := broken.KeywordPath(); len(path) > 0 {
			return "breaks the rule " + strings.Join(path, "/")
		}
		return "is not allowed"
	}
}
