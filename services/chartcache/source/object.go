package source

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/upstream"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Policy is what the administrator allows HelmRepository objects, and what reads their credentials.
type Policy struct {
	// Secrets reads Secrets at each sync.
	Secrets SecretReader
	// Files reads the files that auth.tls names; see FilesBelow.
	Files FileReader
	// CrossNamespaceSecrets allows an object to name a Secret of another namespace. Whoever may create a HelmRepository
	// anywhere could then use every Secret of the cluster against a server of their own.
	CrossNamespaceSecrets bool
}

// Spec turns an object into what the catalog keeps. It never fails: what is wrong with the object is in Invalid, so that
// the repository reports it.
func (p Policy) Spec(object *v1alpha1.HelmRepository) catalog.Spec {
	spec := catalog.Spec{
		Ref:        catalog.Ref{Namespace: object.Namespace, Name: object.Name},
		Generation: object.Generation,
		URL:        object.Spec.URL,
		PlainHTTP:  object.Spec.Insecure,
		Suspend:    object.Spec.Suspend,
		Interval:   DefaultInterval,
		Timeout:    DefaultTimeout,
		// Every edit of what credentials are read from raises the generation, but a new object starts over.
		CredentialsID: string(object.UID),
	}
	if err := p.check(object); err != nil {
		spec.Invalid = err
		return spec
	}
	var err error
	if spec.Interval, err = object.Spec.Interval.Or(DefaultInterval, leastInterval); err != nil {
		spec.Invalid = wrong("spec.interval: %s", err)
		return spec
	}
	if spec.Timeout, err = object.Spec.Timeout.Or(DefaultTimeout, leastTimeout); err != nil {
		spec.Invalid = wrong("spec.timeout: %s", err)
		return spec
	}
	// The operator uses it, but whether a repository is as it should be is said in one place.
	if _, err = object.Spec.ValuesConfigMapRetention.Or(0, 0); err != nil {
		spec.Invalid = wrong("spec.valuesConfigMapRetention: %s", err)
		return spec
	}
	if object.Spec.Auth != nil {
		reader := objectCredentials{policy: p, namespace: object.Namespace, url: object.Spec.URL, auth: object.Spec.Auth.DeepCopy()}
		spec.Credentials = reader.read
	}
	return spec
}

// check says what an edit of the object must mend; nil when nothing.
func (p Policy) check(object *v1alpha1.HelmRepository) error {
	if err := checkURL("spec.url", object.Spec.URL); err != nil {
		return err
	}
	if object.Spec.Type == v1alpha1.RepositoryTypeOCI && !strings.HasPrefix(object.Spec.URL, "oci://") {
		return wrong("spec.type is oci, so spec.url must begin with oci://")
	}
	auth := object.Spec.Auth
	if auth == nil {
		return nil
	}
	references := map[string]*v1alpha1.SecretReference{"spec.auth.secretRef": auth.SecretRef}
	if auth.Basic != nil {
		references["spec.auth.basic.secretRef"] = auth.Basic.SecretRef
	}
	if auth.TLS != nil {
		references["spec.auth.tls.secretRef"] = auth.TLS.SecretRef
	}
	for _, field := range []string{"spec.auth.secretRef", "spec.auth.basic.secretRef", "spec.auth.tls.secretRef"} {
		reference := references[field]
		if reference == nil || reference.Namespace == "" || reference.Namespace == object.Namespace || p.CrossNamespaceSecrets {
			continue
		}
		return wrong("%s names a Secret of namespace %s; another namespace than the object's own is allowed only with chartcache's flag --allow-cross-namespace-secrets", field, reference.Namespace)
	}
	if auth.SecretRef == nil && auth.Basic != nil && auth.Basic.SecretRef == nil && auth.Basic.Username == "" {
		return wrong("spec.auth.basic needs secretRef, or username and password")
	}
	return nil
}

// objectCredentials reads the credentials of one object. It holds a copy of what the object says, and no Secret.
type objectCredentials struct {
	policy    Policy
	namespace string
	url       string
	auth      *v1alpha1.RepositoryAuth
}

// read returns the credentials as they are now.
func (o objectCredentials) read(ctx context.Context) (upstream.Credentials, error) {
	credentials := upstream.Credentials{PassCredentials: o.auth.PassCredentials}
	l, err := o.login(ctx)
	if err != nil {
		return upstream.Credentials{}, err
	}
	credentials.Username, credentials.Password = l.username, l.password
	if o.auth.TLS != nil {
		if err := o.tls(ctx, &credentials); err != nil {
			return upstream.Credentials{}, err
		}
	}
	return credentials, nil
}

func (o objectCredentials) login(ctx context.Context) (login, error) {
	basic := o.auth.Basic
	switch {
	case o.auth.SecretRef != nil:
		where, secret, err := o.secret(ctx, "spec.auth.secretRef", o.auth.SecretRef)
		if err != nil {
			return login{}, err
		}
		return loginOf(where, secret, o.url)
	case basic != nil && basic.SecretRef != nil:
		where, secret, err := o.secret(ctx, "spec.auth.basic.secretRef", basic.SecretRef)
		if err != nil {
			return login{}, err
		}
		return basicLogin(where, secret)
	case basic != nil:
		return login{username: basic.Username, password: basic.Password}, nil
	default:
		return login{}, nil
	}
}

func (o objectCredentials) tls(ctx context.Context, credentials *upstream.Credentials) error {
	t := o.auth.TLS
	credentials.InsecureSkipVerify = t.InsecureSkipVerify
	if t.SecretRef != nil {
		where, secret, err := o.secret(ctx, "spec.auth.tls.secretRef", t.SecretRef)
		if err != nil {
			return err
		}
		return tlsFromSecret(where, secret, credentials)
	}
	files := tlsFiles{
		ca: t.CAFile, cert: t.CertFile, key: t.KeyFile,
		caField: "spec.auth.tls.caFile", certField: "spec.auth.tls.certFile", keyField: "spec.auth.tls.keyFile",
	}
	return files.read(o.policy.Files, credentials)
}

// secretTimeout bounds one read of a Secret; the sync's own timeout can be minutes.
const secretTimeout = 20 * time.Second

// secret reads the Secret of a reference and returns the words that name it in errors.
func (o objectCredentials) secret(ctx context.Context, field string, reference *v1alpha1.SecretReference) (string, Secret, error) {
	namespace := reference.Namespace
	if namespace == "" {
		namespace = o.namespace
	}
	where := fmt.Sprintf("Secret %s/%s (%s)", namespace, reference.Name, field)
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	secret, found, err := o.policy.Secrets.Secret(ctx, namespace, reference.Name)
	if err != nil {
		return where, Secret{}, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE, err,
			"%s cannot be read from the Kubernetes API", where)
	}
	if !found {
		return where, Secret{}, unavailable("%s does not exist", where)
	}
	return where, secret, nil
}
