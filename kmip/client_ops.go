package kmip

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// subject is the object that a request is about and that its answer must name too. Operations that make an
// object have none.
func subject(p Payload) string {
	switch p := p.(type) {
	case *GetRequest:
		return p.UniqueID
	case *GetResponse:
		return p.UniqueID
	case *GetAttributesRequest:
		return p.UniqueID
	case *GetAttributesResponse:
		return p.UniqueID
	case *GetAttributeListRequest:
		return p.UniqueID
	case *GetAttributeListResponse:
		return p.UniqueID
	case *AddAttributeRequest:
		return p.UniqueID
	case *AddAttributeResponse:
		return p.UniqueID
	case *ModifyAttributeRequest:
		return p.UniqueID
	case *ModifyAttributeResponse:
		return p.UniqueID
	case *DeleteAttributeRequest:
		return p.UniqueID
	case *DeleteAttributeResponse:
		return p.UniqueID
	}
	return subjectOfUse(p)
}

func subjectOfUse(p Payload) string {
	switch p := p.(type) {
	case *ActivateRequest:
		return p.UniqueID
	case *ActivateResponse:
		return p.UniqueID
	case *RevokeRequest:
		return p.UniqueID
	case *RevokeResponse:
		return p.UniqueID
	case *DestroyRequest:
		return p.UniqueID
	case *DestroyResponse:
		return p.UniqueID
	case *CheckRequest:
		return p.UniqueID
	case *CheckResponse:
		return p.UniqueID
	case *EncryptRequest:
		return p.UniqueID
	case *EncryptResponse:
		return p.UniqueID
	case *DecryptRequest:
		return p.UniqueID
	case *DecryptResponse:
		return p.UniqueID
	}
	return ""
}

// call asks for one operation and answers its payload as R. validate has made sure that it is one of the operation.
func call[R Payload](ctx context.Context, c *Client, p Payload) (R, error) {
	var none R
	if id := subject(p); id == "" && needsSubject(p.Operation()) {
		return none, fmt.Errorf("%s: no unique identifier, and the ID placeholder is never relied on", p.Operation())
	}
	answer, err := c.one(ctx, p)
	if err != nil {
		return none, err
	}
	r, ok := answer.(R)
	if !ok {
		return none, &ProtocolError{Op: p.Operation(), Reason: fmt.Sprintf("the payload is a %T", answer)}
	}
	return r, nil
}

func needsSubject(op Operation) bool {
	switch op {
	case OperationDiscoverVersions, OperationQuery, OperationCreate, OperationCreateKeyPair, OperationRegister,
		OperationLocate, OperationReKey:
		return false
	}
	return true
}

// DiscoverVersions asks which of the versions the server speaks, all it speaks when none is named.
func (c *Client) DiscoverVersions(ctx context.Context, versions ...Version) ([]Version, error) {
	r, err := call[*DiscoverVersionsResponse](ctx, c, &DiscoverVersionsRequest{Versions: versions})
	if err != nil {
		return nil, err
	}
	return r.Versions, nil
}

// Query asks what the server is and can do.
func (c *Client) Query(ctx context.Context, functions ...QueryFunction) (*QueryResponse, error) {
	return call[*QueryResponse](ctx, c, &QueryRequest{Functions: functions})
}

// Create makes a key. It is sent once: see CreateKey for what to do when the connection breaks.
func (c *Client) Create(ctx context.Context, p *CreateRequest) (*CreateResponse, error) {
	return call[*CreateResponse](ctx, c, p)
}

// Register hands an object to the server. It is sent once.
func (c *Client) Register(ctx context.Context, p *RegisterRequest) (*RegisterResponse, error) {
	return call[*RegisterResponse](ctx, c, p)
}

// ReKey makes a key that replaces another. It is sent once.
func (c *Client) ReKey(ctx context.Context, p *ReKeyRequest) (*ReKeyResponse, error) {
	if p.UniqueID == "" {
		return nil, fmt.Errorf("%s: no unique identifier, and the ID placeholder is never relied on", OperationReKey)
	}
	return call[*ReKeyResponse](ctx, c, p)
}

// Get fetches an object as the server keeps it.
func (c *Client) Get(ctx context.Context, id string) (*GetResponse, error) {
	return call[*GetResponse](ctx, c, &GetRequest{UniqueID: id})
}

// GetKey fetches the bytes of a symmetric key or secret data, which must be neither wrapped nor of a length that
// the server tells otherwise.
func (c *Client) GetKey(ctx context.Context, id string) (*Key, error) {
	r, err := c.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	wrong := func(err error) error {
		return &ProtocolError{OperationGet, fmt.Sprintf("object %.64q is of no use as a key", id), err}
	}
	if t := r.Object.Type; t != ObjectTypeSymmetricKey && t != ObjectTypeSecretData {
		return nil, wrong(fmt.Errorf("it is a %s", t))
	}
	b, err := r.Object.Key.Bytes()
	if err != nil {
		return nil, wrong(err)
	}
	k := &Key{UniqueID: id, Type: r.Object.Type, Algorithm: r.Object.Key.Algorithm, Bytes: b}
	if n := r.Object.Key.Length; n != nil && int(*n) != 8*len(b) && k.Type == ObjectTypeSymmetricKey && k.Algorithm == CryptographicAlgorithmAES {
		return nil, wrong(fmt.Errorf("the server tells a length of %d bits and gives %d", *n, 8*len(b)))
	}
	return k, nil
}

// GetAttributes fetches attributes of an object, all when none is named.
func (c *Client) GetAttributes(ctx context.Context, id string, names ...string) ([]Attribute, error) {
	r, err := call[*GetAttributesResponse](ctx, c, &GetAttributesRequest{UniqueID: id, Attributes: Names(names...)})
	if err != nil {
		return nil, err
	}
	return r.Attributes, nil
}

// GetAttributeList asks which attributes an object has.
func (c *Client) GetAttributeList(ctx context.Context, id string) ([]AttributeRef, error) {
	r, err := call[*GetAttributeListResponse](ctx, c, &GetAttributeListRequest{UniqueID: id})
	if err != nil {
		return nil, err
	}
	return r.Attributes, nil
}

// AddAttribute gives an object another attribute.
func (c *Client) AddAttribute(ctx context.Context, id string, a Attribute) error {
	_, err := call[*AddAttributeResponse](ctx, c, &AddAttributeRequest{id, a})
	return err
}

// ModifyAttribute changes an attribute of an object; of several with one name the one with the index.
func (c *Client) ModifyAttribute(ctx context.Context, id string, a Attribute) error {
	_, err := call[*ModifyAttributeResponse](ctx, c, &ModifyAttributeRequest{UniqueID: id, Attribute: a})
	return err
}

// DeleteAttribute takes an attribute from an object.
func (c *Client) DeleteAttribute(ctx context.Context, id string, r AttributeRef) error {
	_, err := call[*DeleteAttributeResponse](ctx, c, &DeleteAttributeRequest{UniqueID: id, Name: r})
	return err
}

// Locate answers the identifiers of the objects that have all the attributes.
func (c *Client) Locate(ctx context.Context, attributes ...Attribute) ([]string, error) {
	r, err := call[*LocateResponse](ctx, c, &LocateRequest{Attributes: attributes})
	if err != nil {
		return nil, err
	}
	return r.UniqueIDs, nil
}

// Activate makes a key active.
func (c *Client) Activate(ctx context.Context, id string) error {
	_, err := call[*ActivateResponse](ctx, c, &ActivateRequest{id})
	return err
}

// Revoke ends the use of an object; at is when a compromise happened, zero for other reasons.
func (c *Client) Revoke(ctx context.Context, id string, reason RevocationReasonCode, message string, at time.Time) error {
	_, err := call[*RevokeResponse](ctx, c, &RevokeRequest{id, reason, message, at})
	return err
}

// Destroy destroys an object, which must not be active.
func (c *Client) Destroy(ctx context.Context, id string) error {
	_, err := call[*DestroyResponse](ctx, c, &DestroyRequest{id})
	return err
}

// Check asks whether an object may be used with the mask. A server that says no answers the parts that are not allowed.
func (c *Client) Check(ctx context.Context, id string, usage CryptographicUsageMask) (*CheckResponse, error) {
	return call[*CheckResponse](ctx, c, &CheckRequest{UniqueID: id, Usage: new(int32(usage))})
}

// Encrypt has the server encrypt with a key that it keeps.
func (c *Client) Encrypt(ctx context.Context, p *EncryptRequest) (*EncryptResponse, error) {
	return call[*EncryptResponse](ctx, c, p)
}

// Decrypt has the server decrypt with a key that it keeps.
func (c *Client) Decrypt(ctx context.Context, p *DecryptRequest) (*DecryptResponse, error) {
	return call[*DecryptResponse](ctx, c, p)
}

// Supports tells whether a server that answered Query lists all the operations.
func (p *QueryResponse) Supports(ops ...Operation) bool {
	for _, op := range ops {
		if !slices.Contains(p.Operations, op) {
			return false
		}
	}
	return true
}
