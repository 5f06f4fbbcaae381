-- Merges what one process has to say about some circuits, lends permits, and answers with the facts about each.
-- It merges and compares; it decides nothing. Times are microseconds of the server's clock.
--
-- KEYS[1]  who is alive          sorted set: sender -> when it was heard of last
-- KEYS[2]  the sender's number   string: the number of its last exchange that was merged
-- KEYS[3]  the circuits          sorted set: name -> when its keys expire (+inf: never)
-- KEYS[4]  the events            stream; only swaps write to it
-- KEYS[5]  the live settings     hash: v version, d what operators have said (see settings.lua)
-- KEYS[6]  what is in use        hash: see written.lua
-- and for each parcel:
--   head       hash: g generation, r record (JSON, absent before the first swap), b when it was first heard of,
--              L length of the window, o a slot before which there is none, t totals of the window, y tally of the
--              generation, q latest Retry-After in the window, e errors (JSON), s seats -> when they end,
--              n pools -> when somebody was refused, k 1: never expires, x when its expiry was set, w the last swap
--   window     hash: slot (a 120th of the window, counted from 1970) -> {first outcome, counts..., Retry-After until}
--   once       sorted set: key -> until when it is known
--   reporters  sorted set: sender -> until when the last trouble that it reported counts
--
-- A sender without a name only looks: it is not among the living, and a window whose length it gives as 0 is left as it is.
--
-- ARGV[1]  JSON {now, sender, number, alive, ttl, channel, parcels: [[name, length, deliveries, asks]]}; now is false but in tests
--          delivery  [generation, age, calls, failures, slow, ignored, rejected, limited, retry_after or -1,
--                     errors [[label, message, kind, count, age]] or false, once or false, seat or false]
--          ask       [seat, pool, generation, cap, length (0 only asks), keen]
--
-- Returns  {now, processes, version of the live settings, whether anything is in use, answer...}; an answer is an error, or {generation, record, since, window (6), tally (6),
--          asked until, errors, reporters, lease...}; a lease is {granted, retry after, wanted}

local SLOTS, WANTED, DISTINCT_ERRORS, UNMEASURED = 120, 3000000, 5, 300000000

local input = cjson.decode(ARGV[1])
local now = input.now
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

local function unpacked(packed, default)
  if packed then
    return cmsgpack.unpack(packed)
  end
  return default
end

local function added(counts, first, others, sign)
  for place = 1, 6 do
    counts[place] = counts[place] + sign * others[first + place]
  end
end

-- A key of all circuits that is of another type is found out before anything is written, and by everybody at once.

redis.call('ZCARD', KEYS[3])
redis.call('XLEN', KEYS[4])

-- The sender, and whether this exchange is new.

local looks = input.sender == ''
if not looks then
  redis.call('ZADD', KEYS[1], whole(now), input.sender)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - input.alive))
redis.call('PEXPIRE', KEYS[1], input.ttl)
local processes = redis.call('ZCARD', KEYS[1])
local new = false
if input.number > 0 then
  new = input.number > tonumber(redis.call('GET', KEYS[2]) or 0)
  if new then
    redis.call('SET', KEYS[2], whole(input.number), 'PX', input.ttl)
  end
end

-- The window. `window` is {key, length, width, totals, oldest, asked, slots (those looked at), changed}.

local function slot_of(window, slot)
  local found = window.slots[slot]
  if found == nil then
    found = unpacked(redis.call('HGET', window.key, whole(slot)), false)
    window.slots[slot] = found
  end
  return found
end

local function put(window, at, counts, first, asked)
  local slot = math.floor(at / window.width)
  local found = slot_of(window, slot)
  if not found then
    found = {at, 0, 0, 0, 0, 0, 0, 0}
    window.slots[slot] = found
  end
  found[1] = math.min(found[1], at)
  for place = 1, 6 do
    found[place + 1] = found[place + 1] + counts[first + place]
  end
  found[8] = math.max(found[8], asked)
  added(window.totals, first, counts, 1)
  window.asked = math.max(window.asked, asked)
  window.oldest = math.min(window.oldest or slot, slot)
  window.changed[slot] = true
end

-- Another length than before: everything that is young enough finds its slot anew.
local function measured_anew(window)
  local all = redis.call('HVALS', window.key)
  redis.call('DEL', window.key)
  window.totals, window.oldest, window.asked = {0, 0, 0, 0, 0, 0}, nil, 0
  for _, packed in ipairs(all) do
    local slot = cmsgpack.unpack(packed)
    if slot[1] > now - window.length then
      put(window, slot[1], slot, 1, slot[8])
    end
  end
end

local function latest_asked(window)
  local asked = 0
  for _, packed in ipairs(redis.call('HVALS', window.key)) do
    asked = math.max(asked, cmsgpack.unpack(packed)[8])
  end
  return asked
end

-- What has left the window leaves the totals.
local function forgotten(window)
  local cutoff = now - window.length
  local last = math.floor(cutoff / window.width)
  if not window.oldest or window.oldest > last then
    return false
  end
  local fields = {}
  if last - window.oldest > SLOTS then
    fields = redis.call('HKEYS', window.key)
  else
    for slot = window.oldest, last do
      fields[#fields + 1] = whole(slot)
    end
  end
  local gone, asked = {}, false
  for place, packed in ipairs(#fields > 0 and redis.call('HMGET', window.key, unpack(fields)) or {}) do
    local slot = unpacked(packed, false)
    if slot and slot[1] <= cutoff then
      gone[#gone + 1] = fields[place]
      added(window.totals, 1, slot, -1)
      asked = asked or (slot[8] > 0 and slot[8] == window.asked)
    end
  end
  if #gone > 0 then
    redis.call('HDEL', window.key, unpack(gone))
  end
  if asked then
    window.asked = latest_asked(window)
  end
  window.oldest = last
  return true
end

local function merge_errors(all, errors)
  for _, error in ipairs(errors) do
    local count = error[4]
    for place, known in ipairs(all) do
      if known[1] == error[1] and known[2] == error[2] then
        count = count + known[4]
        table.remove(all, place)
        break
      end
    end
    -- Milliseconds: cjson writes fourteen digits.
    all[#all + 1] = {error[1], error[2], error[3], count, math.floor((now - error[5]) / 1000)}
  end
  while #all > DISTINCT_ERRORS do
    table.remove(all, 1)
  end
end

local function lent(circuit, ask)
  local seat, pool, generation, cap, length, keen = unpack(ask)
  if generation ~= circuit.generation then
    return {0, 0, 0}
  end
  local taken, soonest = 0, nil
  for other, ends in pairs(circuit.seats) do
    if ends <= now then
      circuit.seats[other] = nil
      circuit.seats_changed = true
    elseif other ~= seat and other:match('^(.-):') == pool then
      taken = taken + 1
      soonest = math.min(soonest or ends, ends)
    end
  end
  if pool == 'probe' then
    taken = taken + circuit.tally[1]
  end
  local wanted = now - (circuit.refused[pool] or -math.huge) < WANTED and 1 or 0
  if taken < cap then
    if length > 0 then
      circuit.seats[seat] = now + length
      circuit.seats_changed = true
    end
    return {1, 0, wanted}
  end
  if length > 0 and keen then
    if wanted == 0 then
      -- Who has one in stock and no call for it may give it back.
      redis.call('PUBLISH', input.channel, '[' .. cjson.encode(circuit.name) .. ',' .. whole(now) .. ',null]')
    end
    circuit.refused[pool] = now
    circuit.refused_changed = true
  end
  return {0, (soonest or now) - now, wanted}
end

local function answer(place, parcel)
  local name, length, deliveries, asks = parcel[1], parcel[2], parcel[3], parcel[4]
  local head, ring, once, reporters = KEYS[place], KEYS[place + 1], KEYS[place + 2], KEYS[place + 3]

  -- Everything is looked at before anything is written: a key of another type must not leave half of it done.
  local known = redis.pcall('HMGET', head, 'g', 'r', 'b', 'L', 'o', 't', 'y', 'q', 'e', 's', 'n', 'k', 'x')
  local trouble = known.err and known
  for _, check in ipairs(#deliveries > 0 and {{'HLEN', ring}, {'ZCARD', once}, {'ZCARD', reporters}} or {{'HLEN', ring}}) do
    local found = redis.pcall(check[1], check[2])
    trouble = trouble or (type(found) == 'table' and found.err and found)
  end
  if trouble then
    return trouble
  end

  local fields = {}
  local function set(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end

  local circuit = {
    name = name,
    generation = tonumber(known[1] or 0),
    tally = unpacked(known[7], {0, 0, 0, 0, 0, 0}),
    seats = unpacked(known[10], {}),
    refused = unpacked(known[11], {}),
  }
  local since, errors, keep = tonumber(known[3] or now), known[9], known[12]
  if length == 0 then
    length = tonumber(known[4] or UNMEASURED)
  end
  local window = {
    key = ring,
    length = length,
    width = length / SLOTS,
    totals = unpacked(known[6], {0, 0, 0, 0, 0, 0}),
    oldest = tonumber(known[5] or nil),
    asked = tonumber(known[8] or 0),
    slots = {},
    changed = {},
  }
  if not known[1] and not looks then
    set('g', '0')
    set('b', whole(now))
  end

  local samples = nil
  local moved = forgotten(window)
  if tonumber(known[4] or length) ~= length then
    measured_anew(window)
    moved = true
  end
  if not looks and (moved or tonumber(known[4] or 0) ~= length) then
    set('L', whole(length))
  end

  for _, delivery in ipairs(new and deliveries or {}) do
    local at = now - delivery[2]
    local key, seat = delivery[11], delivery[12]
    if seat and circuit.seats[seat] then
      circuit.seats[seat] = nil
      circuit.seats_changed = true
    end
    local counts = delivery[1] == circuit.generation and now - at < length
    if counts and key then
      local known_until = redis.call('ZSCORE', once, key)
      if known_until and tonumber(known_until) > now then
        counts = false
      else
        redis.call('ZREMRANGEBYSCORE', once, '-inf', whole(now))
        redis.call('ZADD', once, whole(at + length), key)
        redis.call('PEXPIRE', once, input.ttl)
      end
    end
    if counts then
      put(window, at, delivery, 2, delivery[9] < 0 and 0 or at + delivery[9])
      added(circuit.tally, 2, delivery, 1)
      circuit.counted = true
      if delivery[4] > 0 or delivery[5] > 0 then
        redis.call('ZREMRANGEBYSCORE', reporters, '-inf', whole(now))
        redis.call('ZADD', reporters, 'GT', whole(at + length), input.sender)
        redis.call('PEXPIRE', reporters, input.ttl)
      end
      if delivery[10] then
        samples = samples or (errors and cjson.decode(errors) or {})
        merge_errors(samples, delivery[10])
      end
    end
  end

  if samples then
    errors = cjson.encode(samples)
    set('e', errors)
  end

  local leases = {}
  for _, ask in ipairs(asks) do
    leases[#leases + 1] = lent(circuit, ask)
  end

  local slots = {}
  for slot in pairs(window.changed) do
    slots[#slots + 1] = whole(slot)
    slots[#slots + 1] = cmsgpack.pack(window.slots[slot])
  end
  if #slots > 0 then
    redis.call('HSET', ring, unpack(slots))
  end
  if moved or circuit.counted then
    set('t', cmsgpack.pack(window.totals))
    set('q', whole(window.asked))
    if window.oldest then
      set('o', whole(window.oldest))
    end
  end
  if circuit.counted then
    set('y', cmsgpack.pack(circuit.tally))
  end
  if circuit.seats_changed then
    set('s', cmsgpack.pack(circuit.seats))
  end
  if circuit.refused_changed then
    set('n', cmsgpack.pack(circuit.refused))
  end
  -- Setting an expiry each time would cost as much as all the rest.
  local stale = not looks and now - tonumber(known[13] or -math.huge) > input.ttl * 250
  if stale then
    set('x', whole(now))
  end
  if #fields > 0 then
    redis.call('HSET', head, unpack(fields))
  end
  if stale then
    redis.call('PEXPIRE', KEYS[6], input.ttl)
  end
  if stale or #slots > 0 and not known[5] then
    redis.call('PEXPIRE', ring, input.ttl)
  end
  if stale and keep ~= '1' then
    redis.call('PEXPIRE', head, input.ttl)
    redis.call('ZADD', KEYS[3], whole(now + input.ttl * 1000), name)
    if redis.call('ZCOUNT', KEYS[3], '+inf', '+inf') == 0 then
      redis.call('PEXPIRE', KEYS[3], input.ttl)
    end
  end

  local troubled = window.totals[2] > 0 or window.totals[3] > 0
  local facts = {
    circuit.generation, known[2] or '', since,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    window.asked, errors or '',
    troubled and redis.call('ZCOUNT', reporters, '(' .. whole(now), '+inf') or 0,
  }
  for count = 1, 6 do
    facts[3 + count] = window.totals[count]
    facts[9 + count] = circuit.tally[count]
  end
  for _, lease in ipairs(leases) do
    facts[#facts + 1] = lease
  end
  return facts
end

local answers = {
  now, processes, tonumber(redis.call('HGET', KEYS[5], 'v') or 0), redis.call('HLEN', KEYS[6]) > 0 and 1 or 0,
}
for place, parcel in ipairs(input.parcels) do
  answers[#answers + 1] = answer(4 * place + 3, parcel)
end
return answers
