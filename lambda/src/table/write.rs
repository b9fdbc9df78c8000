//! Writing: on conditions, together, and many at once.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Put, PutRequest, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, WriteRequest,
};

use super::item::{Item, PK, SK};
use super::{ATTEMPTS, Table, Trouble, pause, trouble};

/// On what condition an item is written.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// There is none with its keys.
    IsNew,
    /// What is there has this value.
    Has(&'static str, AttributeValue),
    /// There is none with its keys, or this number of it is less.
    IsNewOrLess(&'static str, AttributeValue),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    /// It is done.
    Done,
    /// Nothing was written, as a condition does not hold: for each item that was to be written, whether its own holds.
    Refused(Vec<Found>),
}

/// What was found where an item was to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// What its condition asks for.
    AsExpected,
    /// Another item.
    Other(Item),
    /// None.
    Nothing,
}

impl Written {
    /// Of one item that was to be written, returns what is there in its stead.
    pub(super) fn in_its_stead(self) -> Option<Found> {
        match self {
            Self::Done => None,
            Self::Refused(found) => Some(found.into_iter().next().unwrap_or(Found::Nothing)),
        }
    }
}

impl Found {
    fn of(item: Option<Item>) -> Self {
        item.filter(|item| !item.is_empty()).map_or(Self::Nothing, Self::Other)
    }

    /// Returns what is there.
    pub(super) fn item(&self) -> Option<&Item> {
        match self {
            Self::Other(item) => Some(item),
            Self::AsExpected | Self::Nothing => None,
        }
    }
}

impl Condition {
    /// Returns the condition as an expression, with the name and the value in it.
    fn terms(self) -> (&'static str, Option<(&'static str, AttributeValue)>) {
        match self {
            Self::IsNew => ("attribute_not_exists(pk)", None),
            Self::Has(name, value) => ("#name = :value", Some((name, value))),
            Self::IsNewOrLess(name, value) => {
                ("attribute_not_exists(pk) OR #name < :value", Some((name, value)))
            }
        }
    }
}

impl Table {
    /// Writes an item on a condition.
    pub(super) async fn put(&self, item: Item, condition: Condition) -> Result<Written, Trouble> {
        let (expression, value) = condition.terms();
        let mut put = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(item))
            .condition_expression(expression)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some((name, value)) = value {
            put = put.expression_attribute_names("#name", name).expression_attribute_values(":value", value);
        }
        for attempt in 1..=ATTEMPTS {
            let Err(error) = put.clone().send().await else { return Ok(Written::Done) };
            if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
                return Ok(Written::Refused(vec![Found::of(failed.item.clone())]));
            }
            if !is_conflict(&error) {
                return Err(trouble("put", &error));
            }
            pause(attempt).await;
        }
        Err(busy())
    }

    /// Writes items, each on its condition: all of them or none.
    pub(super) async fn put_together(&self, mut puts: Vec<(Item, Condition)>) -> Result<Written, Trouble> {
        // One alone costs half as much without a transaction.
        if puts.len() < 2 {
            return match puts.pop() {
                Some((item, condition)) => self.put(item, condition).await,
                None => Ok(Written::Done),
            };
        }
        let mut writes = Vec::new();
        for (item, condition) in puts {
            let (expression, value) = condition.terms();
            let mut put = Put::builder()
                .table_name(&*self.name)
                .set_item(Some(item))
                .condition_expression(expression)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            if let Some((name, value)) = value {
                put = put
                    .expression_attribute_names("#name", name)
                    .expression_attribute_values(":value", value);
            }
            let put = put.build().map_err(|error| Trouble(error.to_string()))?;
            writes.push(TransactWriteItem::builder().put(put).build());
        }
        self.transact(writes).await
    }

    async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Written, Trouble> {
        let transact = self.client.transact_write_items().set_transact_items(Some(writes));
        for attempt in 1..=ATTEMPTS {
            // Each attempt has a token of its own, which the SDK makes, and keeps where it sends it again itself.
            let Err(error) = transact.clone().send().await else { return Ok(Written::Done) };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons()
                }
                _ => &[],
            };
            if reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed")) {
                return Ok(Written::Refused(reasons.iter().map(found).collect()));
            }
            let passes = |reason: &CancellationReason| {
                matches!(
                    reason.code().unwrap_or("None"),
                    "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
                )
            };
            let is_busy = !reasons.is_empty() && reasons.iter().all(passes);
            if !is_busy && !is_conflict(&error) {
                return Err(trouble("transact", &error));
            }
            pause(attempt).await;
        }
        Err(busy())
    }

    /// Writes any number of items, in place of those with the same keys. It may be broken off between two of them.
    pub(super) async fn put_all(&self, items: Vec<Item>) -> Result<(), Trouble> {
        /// How many the table takes at once.
        const TOGETHER: usize = 25;
        for items in items.chunks(TOGETHER) {
            let mut writes = Vec::new();
            for item in items {
                let put = PutRequest::builder().set_item(Some(item.clone())).build();
                let put = put.map_err(|error| Trouble(error.to_string()))?;
                writes.push(WriteRequest::builder().put_request(put).build());
            }
            self.write_batch(writes).await?;
        }
        Ok(())
    }

    async fn write_batch(&self, mut writes: Vec<WriteRequest>) -> Result<(), Trouble> {
        for attempt in 1..=ATTEMPTS {
            let batch =
                self.client.batch_write_item().request_items(&*self.name, std::mem::take(&mut writes));
            let written = batch.send().await.map_err(|error| trouble("put", &error))?;
            writes = written.unprocessed_items.unwrap_or_default().remove(&*self.name).unwrap_or_default();
            if writes.is_empty() {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(busy())
    }

    /// Removes an item on condition that it has this value. One that is not there has none, also where this removed it and
    /// the answer was lost.
    pub(super) async fn remove(
        &self,
        (pk, sk): (&str, &str),
        (name, value): (&'static str, AttributeValue),
    ) -> Result<Written, Trouble> {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let delete = self.client.delete_item().table_name(&*self.name).key(PK, key(pk)).key(SK, key(sk));
        let delete = delete
            .condition_expression("#name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for attempt in 1..=ATTEMPTS {
            let Err(error) = delete.clone().send().await else { return Ok(Written::Done) };
            if let Some(DeleteItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
                return Ok(Written::Refused(vec![Found::of(failed.item.clone())]));
            }
            if !is_conflict(&error) {
                return Err(trouble("delete", &error));
            }
            pause(attempt).await;
        }
        Err(busy())
    }

    /// Removes an item where it has this value.
    pub(super) async fn delete(
        &self,
        (pk, sk): (&str, &str),
        (name, value): (&'static str, AttributeValue),
    ) -> Result<(), Trouble> {
        self.remove((pk, sk), (name, value)).await.map(drop)
    }
}

fn found(reason: &CancellationReason) -> Found {
    match reason.code() {
        Some("ConditionalCheckFailed") => Found::of(reason.item.clone()),
        _ => Found::AsExpected,
    }
}

/// Tells whether somebody else is writing the same items at this moment.
fn is_conflict<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error.code(), Some("TransactionConflictException" | "TransactionInProgressException"))
}

fn busy() -> Trouble {
    Trouble("is too busy to be written".into())
}
