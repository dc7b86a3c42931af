//! The resources that an agent can ask for, and amounts of them, compared exactly.

use std::cmp::Ordering;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A resource that an agent can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Disk: the container's writable layer, its logs and its emptyDir volumes.
    EphemeralStorage,
}

/// Another resource, such as a device: nothing here governs it, so nothing grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only cpu, memory and ephemeral-storage can be given to an agent")]
pub struct UnknownResource;

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::EphemeralStorage];

    /// Reads the name that Kubernetes has for it.
    ///
    /// # Errors
    /// [`UnknownResource`].
    pub fn parse(name: &str) -> Result<Self, UnknownResource> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or(UnknownResource)
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
        }
    }

    /// Reads an amount of it.
    ///
    /// # Errors
    /// [`QuantityError`].
    pub fn amount(self, text: &str) -> Result<Amount, QuantityError> {
        let amount = Amount::parse(text)?;
        match self {
            Self::Memory | Self::EphemeralStorage if amount.nanos < LEAST_BYTES * NANOS => {
                Err(QuantityError::Unit)
            }
            Self::Cpu | Self::Memory | Self::EphemeralStorage => Ok(amount),
        }
    }

    /// Request where neither run nor policy says anything.
    pub const fn default_request(self) -> &'static str {
        match self {
            Self::Cpu => "500m",
            Self::Memory => "1Gi",
            Self::EphemeralStorage => "2Gi",
        }
    }

    /// Limit where neither run nor policy says anything.
    pub const fn default_limit(self) -> &'static str {
        match self {
            Self::Cpu => "2",
            Self::Memory => "4Gi",
            Self::EphemeralStorage => "10Gi",
        }
    }

    /// Ceiling where no policy names a lower one.
    pub const fn built_in_ceiling(self) -> &'static str {
        match self {
            Self::Cpu => "16",
            Self::Memory => "64Gi",
            Self::EphemeralStorage => "100Gi",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A positive amount, with the spelling that it was written in.
#[derive(Clone, Debug)]
pub struct Amount {
    nanos: u128,
    text: String,
}

/// Why a text is not an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not the syntax of Kubernetes.
    #[error("not a quantity such as 500m, 2, 1.5Gi or 1e3")]
    Syntax,
    /// Zero means "no limit" to a kubelet; less than zero means nothing.
    #[error("must be more than zero")]
    NotPositive,
    /// Less than Kubernetes can hold.
    #[error("is finer than a billionth")]
    TooFine,
    /// More than anyone has.
    #[error("is too large")]
    TooLarge,
    /// Less memory or storage than any container starts with.
    #[error("is less than 1Mi: 512Mi are mebibytes, while 512m is half a byte and 512 are bytes")]
    Unit,
}

/// Decimal places of the finest unit of a Kubernetes quantity, the nano.
const DECIMALS: i32 = 9;
/// Nanos of a whole unit.
const NANOS: u128 = 1_000_000_000;
/// No container starts with less memory or storage; who asks for less meant another unit.
const LEAST_BYTES: u128 = 1 << 20;

impl Amount {
    /// Reads a quantity as `k8s.io/apimachinery/pkg/api/resource` does: decimal digits with an optional point, then
    /// a decimal suffix (`n u m k M G T P E`), a binary one (`Ki` … `Ei`) or an exponent (`e3`, `E-2`).
    ///
    /// # Errors
    /// [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.starts_with('-') {
            return Err(QuantityError::NotPositive);
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at_checked(end).ok_or(QuantityError::Syntax)?;
        let (digits, decimals) = digits(number)?;
        let (multiplier, exponent) = scale(suffix)?;
        let nanos = shift(
            digits.checked_mul(multiplier).ok_or(QuantityError::TooLarge)?,
            exponent + DECIMALS - decimals,
        )?;
        if nanos == 0 {
            return Err(QuantityError::NotPositive);
        }
        Ok(Self {
            nanos,
            text: text.to_owned(),
        })
    }

    /// The amount in the API's type, spelt as it was read.
    pub fn to_quantity(&self) -> Quantity {
        Quantity(self.text.clone())
    }

    /// Whole units, such as bytes, of which a part counts as one.
    pub const fn units(&self) -> u128 {
        self.nanos.div_ceil(NANOS)
    }

    /// The spelling that it was read in.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The digits without the point, and how many stand behind it.
fn digits(number: &str) -> Result<(u128, i32), QuantityError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || fraction.contains('.') {
        return Err(QuantityError::Syntax);
    }
    if all.len() > 30 {
        return Err(QuantityError::TooLarge);
    }
    let decimals = i32::try_from(fraction.len()).map_err(|_| QuantityError::TooLarge)?;
    Ok((all.parse().map_err(|_| QuantityError::Syntax)?, decimals))
}

/// Binary multiplier and decimal exponent of a suffix.
fn scale(suffix: &str) -> Result<(u128, i32), QuantityError> {
    Ok(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Syntax)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Syntax)?;
            if exponent.abs() > 30 {
                return Err(QuantityError::TooLarge);
            }
            (1, exponent)
        }
    })
}

/// `value × 10^exponent`, refused where it is not a whole number.
fn shift(value: u128, exponent: i32) -> Result<u128, QuantityError> {
    let power = 10_u128
        .checked_pow(exponent.unsigned_abs())
        .ok_or(QuantityError::TooLarge)?;
    if exponent >= 0 {
        return value.checked_mul(power).ok_or(QuantityError::TooLarge);
    }
    if value.is_multiple_of(power) {
        Ok(value / power)
    } else {
        Err(QuantityError::TooFine)
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1", NANOS)]
    #[case("+1", NANOS)]
    #[case("1.", NANOS)]
    #[case(".5", NANOS / 2)]
    #[case("500m", NANOS / 2)]
    #[case("0.5", NANOS / 2)]
    #[case("1n", 1)]
    #[case("1u", 1000)]
    #[case("1k", 1000 * NANOS)]
    #[case("1Ki", 1024 * NANOS)]
    #[case("1.5Gi", 1_610_612_736 * NANOS)]
    #[case("1e3", 1000 * NANOS)]
    #[case("1E-3", NANOS / 1000)]
    #[case("1E", 1_000_000_000_000_000_000 * NANOS)]
    #[case("1Ei", (1 << 60) * NANOS)]
    fn quantities_are_exact(#[case] text: &str, #[case] nanos: u128) {
        assert_eq!(Amount::parse(text).unwrap().nanos, nanos);
    }

    #[rstest]
    #[case("", QuantityError::Syntax)]
    #[case(".", QuantityError::Syntax)]
    #[case("1.2.3", QuantityError::Syntax)]
    #[case("1 Gi", QuantityError::Syntax)]
    #[case("1gi", QuantityError::Syntax)]
    #[case("1ki", QuantityError::Syntax)]
    #[case("0x10", QuantityError::Syntax)]
    #[case("1e", QuantityError::Syntax)]
    #[case("one", QuantityError::Syntax)]
    #[case("١", QuantityError::Syntax)]
    #[case("0", QuantityError::NotPositive)]
    #[case("0.0Gi", QuantityError::NotPositive)]
    #[case("-1", QuantityError::NotPositive)]
    #[case("0.1n", QuantityError::TooFine)]
    #[case("1e31", QuantityError::TooLarge)]
    #[case("1e-31", QuantityError::TooLarge)]
    #[case("9999999999999999999999999999999", QuantityError::TooLarge)]
    #[case("999999999999999999999999999999Ei", QuantityError::TooLarge)]
    fn other_texts_are_refused(#[case] text: &str, #[case] error: QuantityError) {
        assert_eq!(Amount::parse(text).map(|a| a.nanos), Err(error));
    }

    #[rstest]
    #[case(ResourceKind::Memory, "512m", Err(QuantityError::Unit))]
    #[case(ResourceKind::Memory, "512", Err(QuantityError::Unit))]
    #[case(ResourceKind::Memory, "1048575", Err(QuantityError::Unit))]
    #[case(ResourceKind::Memory, "1048576", Ok("1048576"))]
    #[case(ResourceKind::Memory, "1Mi", Ok("1Mi"))]
    #[case(ResourceKind::EphemeralStorage, "8000m", Err(QuantityError::Unit))]
    #[case(ResourceKind::EphemeralStorage, "1Gi", Ok("1Gi"))]
    #[case(ResourceKind::Memory, "0", Err(QuantityError::NotPositive))]
    #[case(ResourceKind::Cpu, "512m", Ok("512m"))]
    fn bytes_are_counted_in_units_that_a_container_can_have(
        #[case] kind: ResourceKind,
        #[case] text: &str,
        #[case] read: Result<&str, QuantityError>,
    ) {
        let amount = kind.amount(text);
        assert_eq!(amount.as_ref().map(Amount::as_str).map_err(|error| *error), read);
    }

    #[test]
    fn amounts_compare_by_value_and_keep_their_spelling() {
        let amount = |text: &str| Amount::parse(text).unwrap();
        assert!(amount("1000m") == amount("1"));
        assert!(amount("1G") < amount("1Gi"));
        assert_eq!(amount("1000m").to_quantity().0, "1000m");
    }
}
